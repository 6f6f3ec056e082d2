package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// system is a cluster with its balancer, as users start it.
type system struct {
	straight, through string // URLs
	args              []string
	env               []string
	stateDir          string
}

var portInConfig = regexp.MustCompile(`\b251\d\d\b`)

// up starts the configuration of a server, on ports that are free, and waits until it is healthy.
func up(ctx context.Context, server server) (*system, error) {
	text, err := os.ReadFile(filepath.Join(*dir, "configs", server.name+".yaml"))
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(len(portInConfig.FindAll(text, -1)) + 3)
	if err != nil {
		return nil, err
	}
	lb, nodes := ports[:3], ports[3:]
	text = portInConfig.ReplaceAllFunc(text, func([]byte) []byte {
		port := nodes[0]
		nodes = nodes[1:]
		return []byte(port)
	})
	config := filepath.Join(*dir, server.name+".yaml") // programs are found from there
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	stateDir, err := os.MkdirTemp("", "interop") // short: the path of a unix socket must fit
	if err != nil {
		return nil, err
	}
	s := &system{
		straight: "http://127.0.0.1:" + ports[3] + server.path,
		through:  "http://127.0.0.1:" + lb[0] + server.path,
		args:     []string{"--config", config, "--state-dir", stateDir},
		env: append(ownEnviron(),
			"XDG_CONFIG_HOME="+*dir,
			// Shorter than what the steps silent and idle take; neither may end a call or a stream.
			"ERLMCP_LB_TIMEOUTS_REQUEST=3s",
			"ERLMCP_LB_HTTP_SSE_KEEPALIVE=1s",
			"ERLMCP_LB_LISTEN_HTTP=127.0.0.1:"+lb[0],
			"ERLMCP_LB_LISTEN_ADMIN=127.0.0.1:"+lb[1],
			"ERLMCP_LB_LISTEN_HEALTH=127.0.0.1:"+lb[2]),
		stateDir: stateDir,
	}
	for _, command := range [][]string{{"up"}, {"health", "--wait", "--timeout", "30s"}} {
		if out, err := s.run(ctx, command...); err != nil {
			logs := s.logs()
			s.down()
			return nil, fmt.Errorf("erlmcp %v: %w\n%s%s", command, err, out, logs)
		}
	}
	return s, nil
}

// ownEnviron is the environment without what configures erlmcp.
func ownEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "ERLMCP_") })
}

func (s *system) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, *erlmcp, append(args, s.args...)...)
	cmd.Dir, cmd.Env = *dir, s.env
	return cmd.CombinedOutput()
}

// logs is the end of what nodes and balancer have said.
func (s *system) logs() (all []byte) {
	for _, pattern := range []string{"*.log", "logs/*.log"} {
		files, _ := filepath.Glob(filepath.Join(s.stateDir, pattern)) // the pattern is right
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				content = []byte(err.Error())
			}
			all = fmt.Appendf(all, "%s: %s\n", filepath.Base(file), content[max(0, len(content)-800):])
		}
	}
	return all
}

// down stops everything, also after an interrupt.
func (s *system) down() {
	if out, err := s.run(context.Background(), "down"); err != nil {
		fmt.Printf("erlmcp down: %v\n%s", err, out)
	}
	os.RemoveAll(s.stateDir)
}

// freePorts returns ports that are free, below those that the kernel gives to connections.
func freePorts(n int) (ports []string, err error) {
	for tries := 0; len(ports) < n; tries++ {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			if tries == 1000 {
				return nil, err
			}
			continue
		}
		defer l.Close()
		ports = append(ports, port)
	}
	return ports, nil
}
