package http1

import (
	"bytes"
	"net/netip"
	"unsafe"
)

var (
	errTarget  = &Error{400, "the target is malformed or not allowed with the method"}
	errConnect = &Error{501, "CONNECT is not supported"}
)

// What absolute form leaves out.
var (
	root     = []byte("/")
	asterisk = []byte("*")
)

// parseTarget reads the four forms of RFC 9112 section 3.2.
func (r *Request) parseTarget() *Error {
	t := r.Target
	switch {
	case string(r.Method) == "CONNECT":
		if !IsAuthority(t) {
			return errTarget
		}
		return errConnect
	case t[0] == '/':
		return r.parsePath(t)
	case string(t) == "*":
		if string(r.Method) != "OPTIONS" {
			return errTarget
		}
		r.Path = t
		return nil
	}
	return r.parseAbsolute(t)
}

// parsePath splits a target in origin form.
func (r *Request) parsePath(t []byte) *Error {
	end := 0
	for end < len(t) && t[end] != '?' {
		switch c := t[end]; {
		case class[c]&inPath != 0:
			end++
		case c == '%' && len(t) > end+2 && unhex(t[end+1]) < 16 && unhex(t[end+2]) < 16:
			end += 3
		default:
			return errTarget
		}
	}
	r.Path = t[:end]
	return r.parseQuery(t[end:])
}

// parseQuery takes a query with its question mark, if there is one. Percent signs
// in it are left alone: many senders do not escape them.
func (r *Request) parseQuery(t []byte) *Error {
	if len(t) == 0 {
		return nil
	}
	r.Query = t[1:]
	if span(r.Query, inQuery) < len(r.Query) {
		return errTarget
	}
	return nil
}

// parseAbsolute reduces absolute form to origin or asterisk form.
func (r *Request) parseAbsolute(t []byte) *Error {
	i := bytes.Index(t, []byte("://"))
	if i < 0 || !EqualFold(t[:i], "http") && !EqualFold(t[:i], "https") {
		return errTarget
	}
	t = t[i+3:]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	if !IsAuthority(t[:end]) {
		return errTarget
	}
	r.Host, t = t[:end], t[end:]
	switch {
	case len(t) == 0 && string(r.Method) == "OPTIONS":
		r.Path = asterisk
		return nil
	case len(t) == 0 || t[0] == '?':
		r.Path = root
		return r.parseQuery(t)
	}
	return r.parsePath(t)
}

// IsAuthority reports whether a is a host with an optional port (RFC 3986 section
// 3.2). Of the characters of a registered name those are left out that no name in
// use has: percent signs, and delimiters that lists are made of.
func IsAuthority(a []byte) bool {
	end := span(a, inHost)
	if len(a) > 0 && a[0] == '[' {
		if end = bytes.IndexByte(a, ']') + 1; end == 0 || !isIPv6(a[1:end-1]) {
			return false
		}
	}
	if end == 0 {
		return false
	}
	return end == len(a) || a[end] == ':' && isPort(a[end+1:])
}

// isPort allows none after the colon, as RFC 3986 does.
func isPort(p []byte) bool {
	n := 0
	for len(p) > 1 && p[0] == '0' {
		p = p[1:]
	}
	for _, c := range p {
		if class[c]&inNumber == 0 || len(p) > 5 {
			return false
		}
		n = 10*n + int(c-'0')
	}
	return n < 1<<16
}

// isIPv6 refuses zones, which mean nothing to another host.
func isIPv6(a []byte) bool {
	if len(a) == 0 || bytes.IndexByte(a, '%') >= 0 {
		return false
	}
	// Without a copy: only the error keeps the text, and nobody keeps the error.
	ip, err := netip.ParseAddr(unsafe.String(&a[0], len(a)))
	return err == nil && ip.Is6()
}
