package master

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/erlmcp/erlmcp/healthcheck"
	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/proxy"
)

// CheckFiles reads the files of certificates, keys and header fields that s names, as a balancer would at its start. The
// error tells of those that cannot be used, of which expired ones are some; the warnings of what will go wrong later.
func CheckFiles(s *proxy.Spec, now time.Time) (warnings []string, err error) {
	var errs []error
	check := func(key, file string, leaf *x509.Certificate) {
		switch {
		case now.After(leaf.NotAfter):
			errs = append(errs, advice.With(fmt.Errorf("%s: %s has expired at %v", key, file, leaf.NotAfter), "put one there that is valid"))
		case now.Before(leaf.NotBefore):
			errs = append(errs, advice.With(fmt.Errorf("%s: %s is not valid before %v", key, file, leaf.NotBefore), "put one there that is valid, or set the clock"))
		case leaf.NotAfter.Sub(now) < expirySoon:
			warnings = append(warnings, fmt.Sprintf("%s: %s ends at %v", key, file, leaf.NotAfter))
		}
	}
	if s.TLS.Cert != "" {
		if pair, err := loadPair(s.TLS); err != nil {
			errs = append(errs, err)
		} else {
			check("lb.tls.cert", s.TLS.Cert, pair.leaf)
			if pair.exposed {
				warnings = append(warnings, fmt.Sprintf("lb.tls.key: everybody can read %s: chmod 600 it", s.TLS.Key))
			}
		}
	}
	switch trust, err := loadNodeTrust(s.NodeTLS); {
	case err != nil:
		errs = append(errs, err)
	case s.NodeTLS.Cert != "":
		check("lb.node_tls.cert", s.NodeTLS.Cert, trust.Config.Certificates[0].Leaf)
	}
	if s.Sticky.KeyFile != "" {
		if _, err := loadKey(s, ""); err != nil {
			errs = append(errs, err)
		}
	}
	if file := s.Checks.HeadersFile; file != "" {
		if _, err := healthcheck.ReadHeaders(file); err != nil {
			errs = append(errs, advice.With(fmt.Errorf("lb.checks.headers_file: %w", err), "write header fields into it, Name: value one a line"))
		}
	}
	return warnings, errors.Join(errs...)
}
