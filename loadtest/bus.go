package loadtest

import (
	"github.com/erlmcp/erlmcp/loadtest/internal/bus"
)

// Variables of the environment with secrets, which nobody takes from a command line. Local agents need none.
const (
	// TokenVariable has the token that lets an agent of another machine join.
	TokenVariable = "ERLMCP_LOADTEST_TOKEN"
	// BusVariable has what a NATS server asks for: USER:PASSWORD, a token, or the text of a credentials file.
	BusVariable = "ERLMCP_LOADTEST_BUS_SECRET"
)

// Bus is a NATS server that exists, by which agents of other machines join. Without a URL they join the coordinator itself.
type Bus struct {
	URL    string // nats://HOST:PORT, or with /RUN behind it
	Secret string
	CA     string // file of certificates that sign the server's; empty: the system's
}

// Validate says what is wrong with the URL.
func (b Bus) Validate() error {
	if b.URL == "" {
		return nil
	}
	return bus.CheckNATS(b.URL)
}

// open opens the door for so many agents of other machines.
func (b Bus) open(listen, token string, agents int, e bus.Events) (bus.Door, error) {
	if b.URL != "" {
		return bus.Serve(bus.NATS(b), e)
	}
	return bus.Listen(listen, token, agents, e)
}
