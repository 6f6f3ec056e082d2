package healthcheck

import (
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	s := Default()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSpecRules(t *testing.T) {
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Interval = time.Millisecond }, "health.interval: 1ms is shorter than 100ms"},
		{func(s *Spec) { s.Timeout = 0 }, "health.timeout: 0s is not from 1ms to 1m0s"},
		{func(s *Spec) { s.Timeout = time.Hour }, "health.timeout: 1h0m0s is not from 1ms to 1m0s"},
		{func(s *Spec) { s.Kinds = nil }, "health.kinds: names no check"},
		{func(s *Spec) { s.Kinds = []string{"tcp", "smtp"} }, `health.kinds[1]: unknown check "smtp" (checks: http, icmp, mcp, tcp, tls)`},
		{func(s *Spec) { s.Kinds = []string{"tcp", "tcp"} }, `health.kinds[1]: "tcp" is there twice`},
	} {
		s := Default()
		c.change(&s)
		if err := s.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}
