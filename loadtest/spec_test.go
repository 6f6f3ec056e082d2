package loadtest

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	s := Default()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Target = "8000" }, `loadtest.target: "8000" is not a target: it is not of the form HOST:PORT`},
		{func(s *Spec) { s.Target = ":" }, `loadtest.target: ":" is not a target: "" is not a port between 1 and 65535`},
		{func(s *Spec) { s.Target = "a:0" }, `loadtest.target: "a:0" is not a target: "0" is not a port between 1 and 65535`},
		{func(s *Spec) { s.Target = "http://me:secret@h/mcp" }, `loadtest.target: "http://me:xxxxx@h/mcp" is not a target: it has a user name; give that as a header`},
		{func(s *Spec) { s.Mix = "tcp" }, `loadtest.mix: tcp: "" is not a whole number of per cent between 1 and 100`},
		{func(s *Spec) { s.Mix = "tcp=60,http=30" }, `loadtest.mix: tcp=60,http=30 is 90 per cent in all, not 100`},
		{func(s *Spec) { s.Mix = "tcp=50,tcp=50" }, `loadtest.mix: tcp is given twice`},
		{func(s *Spec) { s.Mix = "udp=100" }, `loadtest.mix: "udp" is not one of tcp, http, sse, ws`},
		{func(s *Spec) { s.Mix, s.Connections = "tcp=1,ws=99", 10 }, `loadtest.mix: tcp=1,ws=99 of 10 connections leaves a transport without any`},
		{func(s *Spec) { s.Driver, s.Mix = DriverWrk, "tcp=50,http=50" }, `loadtest.driver: wrk runs against one target, not against a mix`},
		{func(s *Spec) { s.Driver = "k6" }, `loadtest.driver: "k6" is not one of socket, vegeta, burst, hey, wrk, ab`},
		{func(s *Spec) { s.Driver = DriverVegeta }, `loadtest.driver: vegeta speaks Streamable HTTP only, the target is of tcp`},
		{func(s *Spec) { s.Headers = []string{"Authorization secret"} }, `loadtest.headers: one is not of the form NAME: VALUE`},
		{func(s *Spec) { s.Headers = []string{"A: b\r\nC: d"} }, `loadtest.headers: A is not of the form NAME: VALUE`},
		{func(s *Spec) { s.Era = "modern" }, `loadtest.era: "modern" is not one of session, stateless`},
		{func(s *Spec) { s.HTTPVersion = "3" }, `loadtest.http_version: "3" is not one of 1.1, 2`},
		{func(s *Spec) { s.Tool, s.Scenario = "echo", "x.yaml" }, `loadtest.scenario: it is given beside a tool: one of both says what clients ask`},
		{func(s *Spec) { s.Args = "{}" }, `loadtest.args: they are of no tool`},
		{func(s *Spec) { s.Listen = "x" }, `loadtest.listen: "x" is not of the form host:port`},
		{func(s *Spec) { s.SourceIPs = "127.1.0.0" }, `loadtest.source_ips: "127.1.0.0" is not a prefix such as 127.1.0.0/16`},
		{func(s *Spec) { s.SourceIPs = "127.1.2.3/16" }, `loadtest.source_ips: 127.1.2.3/16 has bits set behind the prefix; write 127.1.0.0/16`},
		{func(s *Spec) { s.Connections = 0 }, `loadtest.connections: 0 is not between 1 and 10000000`},
		{func(s *Spec) { s.ConnectionsPerSource = 0 }, `loadtest.connections_per_source: 0 is not between 1 and 10000000`},
		{func(s *Spec) { s.RampRate = -1 }, `loadtest.ramp_rate: -1 is not between 1 and 10000000`},
		{func(s *Spec) { s.PingRate = 0 }, `loadtest.ping_rate: 0 is not between 1 and 10000000`},
		{func(s *Spec) { s.StickySample = -1 }, `loadtest.sticky_sample: -1 is not between 0 and 10000000`},
		{func(s *Spec) { s.Agents = 1001 }, `loadtest.agents: 1001 is not between 0 and 1000`},
		{func(s *Spec) { s.RemoteAgents = -1 }, `loadtest.remote_agents: -1 is not between 0 and 1000`},
		{func(s *Spec) { s.Duration = 0 }, `loadtest.duration: 0s is not a time span above zero`},
		{func(s *Spec) { s.RequestTimeout = -time.Second }, `loadtest.request_timeout: -1s is not a time span above zero`},
		{func(s *Spec) { s.MaxFailover = 0 }, `loadtest.max_failover: 0s is not a time span above zero`},
		{func(s *Spec) { s.MaxFreezeFailover = 0 }, `loadtest.max_freeze_failover: 0s is not a time span above zero`},
		{func(s *Spec) { s.TolerancePercent = 0 }, `loadtest.tolerance_percent: 0 is not a percentage above 0 and up to 100`},
		{func(s *Spec) { s.MaxLatencyCVPercent = 101 }, `loadtest.max_latency_cv_percent: 101 is not a percentage above 0 and up to 100`},
		{func(s *Spec) { s.Want = []string{"errors<=1%", "latency.p99"} }, `loadtest.want: "latency.p99" is not a figure, an operator and a value, as in latency.p99<=50ms`},
		{func(s *Spec) { s.FindLimit = "max<=1s" }, `loadtest.find_limit: a report has no figure "max"; the nearest of its 8: p50, p75, p90, p95, p99, p999, p9999, errors`},
		{func(s *Spec) { s.Rates = "1000,0" }, `loadtest.rates: "1000,0" is not rates, as in 1000,2000,4000`},
		{func(s *Spec) { s.Target, s.Driver, s.Rates = "http://127.0.0.1/mcp", DriverWrk, "10" }, `loadtest.driver: wrk is a closed loop, whose rate nobody sets: rates take socket or vegeta`},
		{func(s *Spec) { s.Failover = "pull" }, `loadtest.failover: "pull" is not one of kill, freeze, cut, drain, rolling, none`},
	} {
		s := Default()
		c.change(&s)
		if err := s.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	s := Default()
	s.Agents, s.Duration = -1, 0
	err := s.Validate()
	if err == nil || strings.Count(err.Error(), "loadtest.") != 2 {
		t.Error(err)
	}
}
