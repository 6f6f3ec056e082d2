package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/cmd/internal/exit"
	"github.com/erlmcp/erlmcp/internal/wholefile"
	"github.com/erlmcp/erlmcp/proxy"
)

// certOptions are the flags of "lb cert".
type certOptions struct {
	selfSigned, force bool
	hosts             []string
	out               string
	days              int
}

// maxCertDays is ten years.
const maxCertDays = 3653

func newLBCertCommand(a *app) *cobra.Command {
	var o certOptions
	cmd := &cobra.Command{
		Use:   "cert --self-signed [flags]",
		Short: "Make a certificate for development",
		Long: `Make a self-signed certificate and its key for the https listener, and print the lines for the configuration.
The certificate is for localhost, 127.0.0.1, ::1 and the hosts you name. Use it for development only: clients
have to be told to trust it. Existing files are kept unless you give --force.`,
		Example: `  erlmcp lb cert --self-signed --host mcp.test
  curl --cacert lb.crt https://localhost:8443/mcp`,
		RunE: func(*cobra.Command, []string) error { return a.makeCert(o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.selfSigned, "self-signed", false, "sign the certificate with its own key (the only kind there is)")
	f.StringSliceVar(&o.hosts, "host", nil, "further `NAME` or IP address it is for; may be repeated")
	f.StringVar(&o.out, "out", ".", "`DIR` for lb.crt and lb.key")
	f.IntVar(&o.days, "days", 365, "how many days it is valid")
	f.BoolVar(&o.force, "force", false, "overwrite files that exist")
	a.addAnswerFlags(cmd)
	return cmd
}

func (a *app) makeCert(o certOptions) error {
	if !o.selfSigned {
		return exit.Hinted(exit.Usagef("lb cert makes self-signed certificates only"), "say so: erlmcp lb cert --self-signed")
	}
	if o.days < 1 || o.days > maxCertDays {
		return exit.Usagef("--days: must be from 1 to %d, is %d", maxCertDays, o.days)
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, h := range o.hosts {
		if !isCertHost(h) {
			return exit.Usagef("--host: %q is neither a host name nor an IP address", h)
		}
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	dir, err := filepath.Abs(o.out)
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(dir, "lb.crt"), filepath.Join(dir, "lb.key")
	if !o.force {
		for _, name := range []string{certFile, keyFile} {
			if _, err := os.Lstat(name); err == nil {
				return exit.Hinted(fmt.Errorf("%s exists", name), "--force overwrites it; --out DIR puts the files elsewhere")
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	cert, key, err := proxy.SelfSigned(hosts, o.days)
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := wholefile.Write(keyFile, key, 0o600); err != nil {
		return err
	}
	if err := wholefile.Write(certFile, cert, 0o644); err != nil {
		return err
	}
	if a.changes.format == "table" {
		if _, err := fmt.Fprintf(a.stdout, "lb:\n  tls:\n    cert: %q\n    key: %q\n", certFile, keyFile); err != nil {
			return err
		}
	}
	a.did(change{Action: "write", Kind: "file", Names: []string{certFile, keyFile}, Detail: map[string]any{"hosts": hosts, "days": o.days}},
		"certificate for %v, valid for %d days: put the lines above into erlmcp.yaml, then erlmcp lb reload", hosts, o.days)
	return nil
}

// isCertHost reports whether a certificate can be for h; a wildcard is one label in front.
func isCertHost(h string) bool {
	if net.ParseIP(h) != nil {
		return true
	}
	if len(h) > 2 && h[:2] == "*." {
		h = h[2:]
	}
	if h == "" || len(h) > 253 || h[0] == '.' || h[0] == '-' {
		return false
	}
	for _, r := range h {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_' {
			return false
		}
	}
	return true
}
