package machine

import (
	"testing"
	"time"
)

func TestMachineLoad(t *testing.T) {
	m, ok := parseStat("cpu  100 0 200 600 50 10 20 20 5 0\ncpu0 1 2 3\n")
	if !ok || m.total != 10*time.Second || m.idle != 6500*time.Millisecond || m.steal != 200*time.Millisecond || m.softirq != m.steal {
		t.Errorf("%+v, %v", m, ok)
	}
	for _, text := range []string{"", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, ok := parseStat(text); ok {
			t.Errorf("%q was read", text)
		}
	}
	const netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: ListenDrops\nIpExt: 9\n"
	if n := netstatValue(netstat, "TcpExt", "ListenDrops"); n != 3 {
		t.Errorf("%d drops", n)
	}
	if n := netstatValue("TcpExt: ListenDrops\nTcpExt:\n", "TcpExt", "ListenDrops"); n != 0 {
		t.Errorf("%d drops of a short line", n)
	}
	if now := ReadLoad(); !now.known || now.total == 0 {
		t.Errorf("this machine: %+v", now)
	}
}

func TestSaturation(t *testing.T) {
	var m Load
	m.Add(Load{known: true, total: 20, idle: 9, steal: 2, softirq: 3, listenDrops: 7}, Load{known: true, total: 10, idle: 8, steal: 1, softirq: 1, listenDrops: 3})
	got := m.Saturation()
	if want := (Saturation{Known: true, BusyPercent: 90, StealPercent: 10, SoftirqPercent: 20, ListenDrops: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, c := range []struct {
		s     Saturation
		spoil bool
	}{
		{Saturation{}, false},
		{got, false},
		{Saturation{Known: true, BusyPercent: 99}, true},
		{Saturation{Known: true, BusyPercent: 30, StealPercent: 20}, true},
	} {
		if (c.s.Spoilt() != "") != c.spoil {
			t.Errorf("%+v: %q", c.s, c.s.Spoilt())
		}
	}
}
