package burst

import (
	"bytes"
	"fmt"

	"golang.org/x/net/http/httpguts"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

// machine is what limits the connections of one process.
type machine struct {
	descriptors func() (uint64, error)
	ports       func() int // from one address to another; 0: not known
}

var thisMachine = machine{prefork.Ceiling, ephemeralPorts}

const elsewhere = "choose the driver vegeta or socket, which spread connections over processes and addresses"

// fits says what keeps all drivers from a job.
func fits(driver string, j *Job, m machine) error {
	refuse := func(hint, format string, args ...any) error {
		return advice.With(fmt.Errorf(driver+" "+format, args...), hint)
	}
	e := &j.Endpoint
	switch {
	case e.Transport != target.HTTP:
		return refuse("choose the driver socket", "speaks Streamable HTTP only, not %s", e.Transport)
	case !e.Address.IsValid():
		return refuse("resolve the name of the target first", "has no address of %s", e.Host)
	case e.HTTP2:
		return refuse("leave HTTP/2 out, or choose the driver vegeta", "would put all on few connections of HTTP/2")
	case e.Secure && !e.TLS.Insecure:
		return refuse("choose the driver vegeta or socket, or accept any certificate (--insecure)",
			"does not check certificates: whoever answers in the place of %s would be trusted", e.Host)
	case j.Duration <= 0 || j.Duration > longest:
		return refuse("give a time up to a day", "cannot run for %s", j.Duration)
	case j.Timeout < 0 || j.Timeout > longestTimeout:
		return refuse("give a time-out up to a minute", "cannot wait %s for an answer", j.Timeout)
	case len(j.Body) == 0 || len(j.Body) > mostBody:
		return refuse(fmt.Sprintf("ask something of 1 to %d bytes", mostBody), "cannot send a body of %d bytes", len(j.Body))
	case j.Number != "" && bytes.Count(j.Body, []byte(j.Number)) != 1:
		return refuse("have the place of the number in the body once", "cannot number requests")
	}
	for _, f := range j.given() {
		if !httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) {
			return refuse("correct the header field", "cannot send the header field %q", f.Name) // the value may be a secret
		}
	}
	return m.fits(driver, j.Connections)
}

func (m machine) fits(driver string, connections int) error {
	limit, err := m.descriptors()
	if err != nil {
		return err
	}
	room, ports := prefork.Room(1, limit), m.ports()
	switch {
	case connections < 1:
		return advice.With(fmt.Errorf("%s needs a connection at least, not %d", driver, connections), "give it some")
	case connections > room:
		return advice.With(fmt.Errorf("%s is one process, which can hold %d connections here, not %d: its limit of open files is %d", driver, room, connections, limit),
			"raise the hard limit (ulimit -Hn), or "+elsewhere)
	case ports > 0 && connections > ports:
		return advice.With(fmt.Errorf("%s has one source address, which can hold %d connections to the target, not %d: there are no more ports", driver, ports, connections),
			`sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535", or `+elsewhere)
	}
	return nil
}
