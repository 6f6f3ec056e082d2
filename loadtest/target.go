package loadtest

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/internal/probe"
	"github.com/erlmcp/erlmcp/loadtest/internal/target"
	"github.com/erlmcp/erlmcp/loadtest/system"
)

// maxFile bounds what a file that a spec names may hold.
const maxFile = 64 << 10

// endpointOf is where clients connect and how they are let in, but for the address.
func endpointOf(s *Spec, at string) (target.Endpoint, *probe.Trouble) {
	t, err := target.Parse(at)
	if err != nil {
		return target.Endpoint{}, unusable(err, "name it by HOST:PORT, or by a URL of http, https, ws or wss")
	}
	e := target.Endpoint{Target: t, TLS: target.TLS{ServerName: s.ServerName, Insecure: s.Insecure}, HTTP2: s.HTTPVersion == "2"}
	for _, h := range s.Headers {
		field, err := parseHeader(h)
		if err != nil {
			return e, unusable(err, "write --header 'NAME: VALUE'")
		}
		e.Header = append(e.Header, field)
	}
	if s.TokenFile != "" {
		token, err := readToken(s.TokenFile)
		if err != nil {
			return e, unusable(fmt.Errorf("the token file %w", err), "--token-file FILE, with the token in its first line")
		}
		e.Header = append(e.Header, target.Field{Name: "Authorization", Value: "Bearer " + token})
	}
	if s.CA != "" {
		text, err := readFile(s.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s: there is no certificate in it", s.CA)
		}
		if err != nil {
			return e, unusable(fmt.Errorf("the certificates of %w", err), "--ca FILE, with certificates in PEM")
		}
		e.TLS.CA = string(text)
	}
	return e, nil
}

// unusable is about what a spec says.
func unusable(err error, fix string) *probe.Trouble {
	return &probe.Trouble{Blame: probe.Asked, Text: err.Error(), Need: "something else", Fix: fix}
}

// readFile reads a file within bounds; the error names it.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, plainly(name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, plainly(name, err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s: it is larger than %d KiB", name, maxFile>>10)
	}
	return text, nil
}

// plainly says an error of the file system without the name of the system call.
func plainly(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// readToken reads the first line of a file. The error does not hold any of it.
func readToken(name string) (string, error) {
	text, err := readFile(name)
	if err != nil {
		return "", err
	}
	line, err := bufio.NewReader(strings.NewReader(string(text))).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	token := strings.TrimSpace(line)
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("%s: its first line is no token", name)
		}
	}
	if token == "" {
		return "", fmt.Errorf("%s: its first line is empty", name)
	}
	return token, nil
}

// fixOf is what can be done about trouble with the target, as far as the state of the system tells.
func fixOf(t *probe.Trouble, o *system.Observation) string {
	switch {
	case t.Fix != "":
		return t.Fix
	case t.Blame == probe.Refuses && o.Balancer != nil:
		return "erlmcp lb status shows the nodes, erlmcp lb ban list who is shut out"
	case t.Blame == probe.Refuses:
		return "see to what it says, or name another --target"
	case o.Balancer != nil:
		return "the balancer runs: erlmcp health tells what is wrong"
	case len(o.Elsewhere) > 0:
		return "the balancer that runs takes clients elsewhere: " + strings.Join(optionsOf(o.Elsewhere), ", or ")
	}
	return "start the system (erlmcp up), let the load test start it (--up), or name another --target"
}

// optionsOf are the flags that name listeners as targets.
func optionsOf(listeners []string) (options []string) {
	for _, l := range listeners {
		name, address, _ := strings.Cut(l, " ")
		if name != "tcp" {
			address = name + "://" + address + target.DefaultPath
		}
		options = append(options, "--target "+address)
	}
	return options
}
