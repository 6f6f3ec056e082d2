package prefork

import (
	"math"
	"syscall"
	"testing"
)

func TestLimit(t *testing.T) {
	var before, after syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := syscall.Rlimit{Cur: before.Cur / 2, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) })
	n, err := Limit()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &after); err != nil {
		t.Fatal(err)
	}
	if after.Cur != n || after.Cur <= low.Cur || n > before.Max {
		t.Errorf("limit %d, soft limit %d → %d, hard %d", n, low.Cur, after.Cur, after.Max)
	}

	h := start(t, "worker", 1, nil)
	h.send(t, 0, "facts", nil)
	if f := into[facts](t, h.awaitEvents(t, "message", 1)[0].Message.Data); f.Limit != n {
		t.Errorf("limit of a copy %d, want %d", f.Limit, n)
	}
}

func TestRoom(t *testing.T) {
	tests := []struct {
		perItem int
		nofile  uint64
		want    int
	}{
		{2, 20_000, 9_872},
		{1, 20_000, 19_744},
		{2, 0, 0},
		{2, Reserve, 0},
		{2, Reserve + 1, 0},
		{2, Reserve + 2, 1},
		{0, Reserve + 2, 2},
		{2, math.MaxUint64, 1 << 30},
	}
	for _, tt := range tests {
		if got := Room(tt.perItem, tt.nofile); got != tt.want {
			t.Errorf("Room(%d, %d) = %d, want %d", tt.perItem, tt.nofile, got, tt.want)
		}
	}
}
