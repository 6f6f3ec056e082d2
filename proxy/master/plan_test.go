package master

import (
	"errors"
	"testing"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
)

func TestPlanCapacity(t *testing.T) {
	for _, test := range []struct {
		name             string
		total, workers   int
		cores            int
		nofile           uint64
		want             capacity
		wantErr, wantTip string
	}{
		{name: "few descriptors", total: 100_000, cores: 2, nofile: 20_000, want: capacity{2, 13, 9872}},
		{name: "many descriptors", total: 100_000, cores: 2, nofile: 1 << 20, want: capacity{2, 2, 100_000}},
		{name: "many cores", total: 100_000, cores: 64, nofile: 1 << 20, want: capacity{64, 64, 100_000}},
		{name: "few connections", total: 100, cores: 2, nofile: 20_000, want: capacity{2, 2, 100}},
		{name: "workers as asked", total: 1000, workers: 1, cores: 2, nofile: 20_000, want: capacity{1, 1, 1000}},
		{
			name: "too few workers", total: 100_000, workers: 2, cores: 2, nofile: 20_000,
			wantErr: "lb.workers: 2 workers cannot hold 100000 connections with 20000 open files each",
			wantTip: "at least 12 are needed; 0 computes the number",
		},
		{
			name: "hopeless", total: 100_000, cores: 2, nofile: 256,
			wantErr: "lb.max_connections: 100000 connections do not fit the limit of 256 open files a process",
			wantTip: "raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit)",
		},
		{
			name: "too many workers for one parent", total: 100_000, cores: 2, nofile: 800,
			wantErr: "lb.max_connections: 100000 connections do not fit the limit of 800 open files a process",
			wantTip: "raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit) or lower lb.max_connections: 67010 would fit",
		},
		{name: "a shell's usual limit", total: 100_000, cores: 2, nofile: 1024, want: capacity{2, 288, 384}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := proxy.Spec{MaxConnections: test.total, Workers: test.workers}
			got, err := planCapacity(&s, test.cores, test.nofile)
			if test.wantErr == "" {
				if err != nil || got != test.want {
					t.Errorf("got %+v, %v; want %+v", got, err, test.want)
				}
				return
			}
			var wrong *advice.Error
			if !errors.As(err, &wrong) || err.Error() != test.wantErr || wrong.Hint() != test.wantTip {
				t.Errorf("got %v, want %s (%s)", err, test.wantErr, test.wantTip)
			}
		})
	}
}
