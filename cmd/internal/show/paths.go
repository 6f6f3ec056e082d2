package show

import (
	"path/filepath"

	"github.com/erlmcp/erlmcp/internal/config"
	"github.com/erlmcp/erlmcp/internal/term"
)

// Paths is where everything is.
type Paths struct {
	Configuration []config.Place `json:"configuration"` // those that are over others first
	StateDir      string         `json:"state_dir"`
	Sockets       []string       `json:"sockets"`
	Logs          []string       `json:"logs"` // of the balancer and the supervisor
	NodeLogs      string         `json:"node_logs"`
	AccessLog     string         `json:"access_log,omitempty"`
	ErlangFiles   string         `json:"erlang_files,omitempty"`
}

// Print prints them as a table.
func (p *Paths) Print(out *term.Output) error {
	t := out.Table("WHAT", "WHERE", "")
	for _, c := range p.Configuration {
		note := "not there"
		if c.Read {
			note = "read"
		}
		t.Row("configuration, "+c.What, c.Path, note)
	}
	t.Row("state directory", p.StateDir)
	t.Row("log of lb", p.Logs[0])
	t.Row("log of cluster", p.Logs[1])
	t.Row("logs of the nodes", filepath.Join(p.NodeLogs, "*.log"))
	if p.AccessLog != "" {
		t.Row("access log", p.AccessLog)
	}
	if p.ErlangFiles != "" {
		t.Row("files of Erlang nodes", p.ErlangFiles)
	}
	return t.Flush()
}
