package cmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/prefork"
	"github.com/erlmcp/erlmcp/loadtest"
	"github.com/erlmcp/erlmcp/loadtest/agent"
)

// meeting is how a load test and its agents on other machines find and trust each other, by flags that both have.
type meeting struct {
	tokenFlag string // its name: a load test has a token for its target too
	tokenFile string
	bus       loadtest.Bus
	busFile   string
}

// addFlags gives a command the flags.
func (m *meeting) addFlags(flags *pflag.FlagSet, token string) {
	m.tokenFlag = token
	flags.StringVar(&m.tokenFile, token, "", "`FILE` with the secret that load test and agents share (default the variable "+loadtest.TokenVariable+")")
	flags.StringVar(&m.bus.URL, "bus", "", "meet at the NATS server `URL`: nats://HOST:PORT/RUN")
	flags.StringVar(&m.busFile, "bus-secret-file", "", "`FILE` with what the NATS server asks for: USER:PASSWORD, a token or credentials (default the variable "+loadtest.BusVariable+")")
	flags.StringVar(&m.bus.CA, "bus-ca", "", "`FILE` of certificates that sign the NATS server's (default the system's)")
}

// token is the secret that load test and agents share, "" without one.
func (m *meeting) token() (string, error) {
	return secret(m.tokenFlag, m.tokenFile, loadtest.TokenVariable)
}

// server is the NATS server with its secret.
func (m *meeting) server() (loadtest.Bus, error) {
	b := m.bus
	if err := b.Validate(); err != nil {
		return b, exit.Usagef("--bus: %w", err)
	}
	var err error
	b.Secret, err = secret("bus-secret-file", m.busFile, loadtest.BusVariable)
	if b.URL == "" && (m.busFile != "" || b.CA != "") {
		return b, exit.Usagef("--bus-secret-file and --bus-ca are about a NATS server: --bus URL")
	}
	return b, err
}

// secret is the text of a file, if one is given, else that of a variable of the environment.
func secret(flag, path, variable string) (string, error) {
	value := takeEnv(variable)
	if path == "" {
		return value, nil
	}
	value, err := readSecret(path)
	if err != nil {
		return "", exit.WithCode(exit.Usage, fmt.Errorf("--%s: %w", flag, err))
	}
	return value, nil
}

// maxSecret holds a credentials file.
const maxSecret = 64 << 10

// readSecret reads a file that only its owner, and maybe a group, can read.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); info.Mode().IsRegular() && mode&0o027 != 0 {
		return "", exit.Hinted(fmt.Errorf("%s can be read by every user, or written by others (mode %04o)", path, mode), "chmod 600 %s, and take another secret if somebody may have read it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxSecret:
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	}
	value := strings.TrimSpace(string(text))
	if value == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return value, nil
}

// options are those of a load test that awaits agents of other machines.
func (m *meeting) options(s *loadtest.Spec) (token string, b loadtest.Bus, err error) {
	if b, err = m.server(); err != nil {
		return "", b, err
	}
	if token, err = m.token(); err != nil {
		return "", b, err
	}
	switch {
	case s.RemoteAgents == 0 && b.URL != "":
		return "", b, exit.Hinted(exit.Usagef("--bus is for agents of other machines"), "--remote-agents N, how many to wait for")
	case s.RemoteAgents > 0 && b.URL == "" && token == "":
		return "", b, exit.Hinted(exit.Usagef("remote agents need a secret to join with"),
			"set %s to the same long random text here and where the agents run, or give it in a file: --%s", loadtest.TokenVariable, m.tokenFlag)
	}
	return token, b, nil
}

func newLoadtestAgentCommand(a *app) *cobra.Command {
	var o agent.Options
	var m meeting
	c := &cobra.Command{
		Use:   "agent --join URL | --bus URL",
		Short: "Hold connections for a load test of another machine",
		Long: fmt.Sprintf(`agent joins a load test that was started elsewhere with --remote-agents, and holds its share of the connections
until the test is over. The load test prints the command to join with, except for the secret, which both sides
need in a file or in the environment variable %s. It is not said, only proved, within TLS.

By the pin, the agent knows that it talks to that load test. Without a pin, the secret has to be enough: it must
have at least %d characters then.

With --bus, load test and agents meet at a NATS server. Who may speak there is up to that server.`, loadtest.TokenVariable, agent.LeastSecret),
		Example: `  erlmcp loadtest agent --join tls://192.0.2.1:4222 --pin sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b
  erlmcp loadtest agent --join tls://192.0.2.1:4222 --token-file /etc/erlmcp/loadtest.token
  erlmcp loadtest agent --bus nats://nats.example:4222/nightly --bus-secret-file nats.creds`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log, o.StateDir = a.log("agent"), a.stateDir()
			if err := m.agentOptions(&o); err != nil {
				return err
			}
			err := agent.Run(cmd.Context(), o)
			if errors.Is(err, prefork.ErrNotChild) {
				return exit.Hinted(exit.Usagef("an agent needs a load test to join"), "--join URL, which the load test prints when it waits for agents")
			}
			return err
		},
	}
	c.Flags().SortFlags = false
	c.Flags().StringVar(&o.Join, "join", "", "`URL` that the load test prints for agents")
	c.Flags().StringVar(&o.Pin, "pin", "", "`PIN` of the load test's certificate: sha256:…")
	m.addFlags(c.Flags(), "token-file")
	c.Flags().StringVar(&o.SourceIPs, "source-ips", "", "`PREFIX` of the addresses to connect from (default what the load test plans)")
	c.MarkFlagsMutuallyExclusive("join", "bus")
	return c
}

// agentOptions completes the options of an agent.
func (m *meeting) agentOptions(o *agent.Options) error {
	b, err := m.server()
	if err != nil {
		return err
	}
	o.Bus, o.BusSecret, o.BusCA = b.URL, b.Secret, b.CA
	if o.Token, err = m.token(); err != nil || o.Join == "" {
		return err
	}
	if o.Token == "" {
		return exit.Hinted(exit.Usagef("there is no secret to join with"),
			"set %s to the same text as where the load test runs, or give it in a file: --token-file", loadtest.TokenVariable)
	}
	if o.Pin == "" {
		if len(o.Token) < agent.LeastSecret {
			return exit.Hinted(exit.Usagef("an agent must know the load test that it joins"),
				"--pin PIN, which the load test prints when it waits for agents, or a secret of at least %d characters", agent.LeastSecret)
		}
		return nil
	}
	if err := agent.CheckPin(o.Pin); err != nil {
		return exit.Hinted(exit.Usagef("--pin: %v", err), "copy it from what the load test prints when it waits for agents")
	}
	return nil
}
