package healthcheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// TLSReason says, for people, why TLS could not be agreed on with a server: of an error of crypto/tls, in the
// handshake or after it. It is "" when the connection below has failed.
func TLSReason(err error) string {
	var record tls.RecordHeaderError
	var network *net.OpError
	if reason := certificateReason(err); reason != "" {
		return reason
	}
	switch {
	case err == nil, belowTLS(err):
		return ""
	case errors.As(err, &record):
		return notTLS
	case errors.As(err, &network) && network.Op == remoteAlert:
		return "handshake refused: " + network.Err.Error()
	}
	return "handshake failed: " + err.Error()
}

// How crypto/tls calls alerts: the operation of a net.OpError.
const (
	localAlert  = "local error"
	remoteAlert = "remote error"
)

// belowTLS reports an error of the connection below, an end of it included.
func belowTLS(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, end) {
			return true
		}
	}
	var number syscall.Errno
	var network *net.OpError
	return errors.As(err, &number) || errors.As(err, &network) && network.Op != localAlert && network.Op != remoteAlert
}

// certificateReason says why a certificate was not accepted, "" if it was not for that.
func certificateReason(err error) string {
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var other *tls.CertificateVerificationError
	switch {
	case errors.As(err, &host):
		return notFor(host.Certificate, host.Host)
	case errors.As(err, &invalid):
		if reason := badCertificate(invalid.Cert, "", time.Now()); reason != "" {
			return reason
		}
		return "certificate is not valid: " + invalid.Error()
	case errors.As(err, &unknown):
		return "certificate is of an authority that is not trusted"
	case errors.As(err, &other):
		return "certificate cannot be verified: " + other.Err.Error()
	}
	return ""
}
