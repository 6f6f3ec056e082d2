package burst

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/erlmcp/erlmcp/loadtest/internal/target"
)

const contentType = "Content-Type"

// FirstNumber is below all numbers of requests, which have as many digits. JSON holds them without loss.
const FirstNumber = 1_000_000_000_000_000

// given is the header that was asked for.
func (j *Job) given() []target.Field { return slices.Concat(j.Header, j.Endpoint.Header) }

// Fields is the header of requests, without the fields that say where the request goes and how long it is. A name is in it
// once, as RFC 9110, section 5.3, has it.
func (j *Job) Fields() []target.Field {
	var fields []target.Field
	at := make(map[string]int)
	for _, f := range j.given() {
		f.Name = http.CanonicalHeaderKey(f.Name)
		switch i, known := at[f.Name]; {
		case f.Name == "Host" || f.Name == "Content-Length" || f.Name == "Transfer-Encoding" || f.Name == "Connection":
		case known:
			fields[i].Value += ", " + f.Value
		default:
			at[f.Name] = len(fields)
			fields = append(fields, f)
		}
	}
	for _, f := range []target.Field{{Name: "Accept", Value: "application/json, text/event-stream"}, {Name: contentType, Value: "application/json"}} {
		if _, known := at[f.Name]; !known {
			fields = append(fields, f)
		}
	}
	return fields
}

// Host is what requests say they are for: what was asked for, or the target.
func (j *Job) Host() string {
	for _, f := range j.given() {
		if strings.EqualFold(f.Name, "Host") {
			return f.Value
		}
	}
	return j.Endpoint.Authority()
}

// URL has the address in place of the name.
func (j *Job) URL() *url.URL {
	u := &url.URL{Scheme: "http", Host: j.Endpoint.Address.String()}
	if j.Endpoint.Secure {
		u.Scheme = "https"
	}
	bare, query, _ := strings.Cut(j.Endpoint.Path, "?")
	u.RawQuery = query
	u.Path, u.RawPath = bare, ""
	if p, err := url.PathUnescape(bare); err == nil {
		u.Path, u.RawPath = p, bare
	}
	return u
}
