package target

import (
	"crypto/x509"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Target{
		"127.0.0.1:8000":                   {TCP, false, "127.0.0.1", 8000, ""},
		":8000":                            {TCP, false, "127.0.0.1", 8000, ""},
		"[::1]:8000":                       {TCP, false, "::1", 8000, ""},
		"mcp.example.com:8000":             {TCP, false, "mcp.example.com", 8000, ""},
		"tcp://mcp.example.com:8000":       {TCP, false, "mcp.example.com", 8000, ""},
		"http://127.0.0.1:8080/mcp":        {HTTP, false, "127.0.0.1", 8080, "/mcp"},
		"http://:8080/mcp":                 {HTTP, false, "127.0.0.1", 8080, "/mcp"},
		"http://mcp.example.com":           {HTTP, false, "mcp.example.com", 80, "/mcp"},
		"https://mcp.example.com/":         {HTTP, true, "mcp.example.com", 443, "/"},
		"https://[::1]:8443/api/mcp?a=b&c": {HTTP, true, "::1", 8443, "/api/mcp?a=b&c"},
		"http://h:1/a%2Fb":                 {HTTP, false, "h", 1, "/a%2Fb"},
		"http://h:1/sse":                   {SSE, false, "h", 1, "/sse"},
		"https://h:1/mcp/sse?x=y":          {SSE, true, "h", 1, "/mcp/sse?x=y"},
		"sse+http://h:1/events":            {SSE, false, "h", 1, "/events"},
		"http://h:1/mcp?sse":               {HTTP, false, "h", 1, "/mcp?sse"},
		"ws://h:1/mcp":                     {WS, false, "h", 1, "/mcp"},
		"wss://h":                          {WS, true, "h", 443, "/mcp"},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%s prints as %s, which is %+v, %v", text, got, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "HOST:PORT",
		"localhost":             "HOST:PORT",
		"h:0":                   "between 1 and 65535",
		"h:x":                   `"x" is not a port`,
		"http://h:70000/mcp":    "between 1 and 65535",
		"ftp://h/mcp":           "http, https, ws or wss",
		"sse+ws://h/":           "http, https, ws or wss",
		"http:///mcp":           "names no host",
		"http://me:secret@h/":   "user name",
		"http://h/#top":         "fragment",
		"http://h:1/%zz":        "invalid URL escape",
		"h/path:80":             "http://HOST:PORT/PATH",
		"h:80/path":             "http://HOST:PORT/PATH",
		"http://h:1:2/mcp":      "invalid",
		"http://[::1/mcp":       "missing ']'",
		"http://h\x7f:80/mcp":   "invalid control character",
		"http://a b:80/mcp":     "invalid character",
		"tcp://h:8000/mcp":      "http://HOST:PORT/PATH",
		"https://user@host/mcp": "user name",
	} {
		got, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", text, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{":8000", "http://h:1/mcp?x", "sse+https://[::1]/e", "wss://h", "http://u:p@h/", "h:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is %+v, prints as %s, which is %+v, %v", text, got, got, again, err)
		}
	})
}

func TestTrust(t *testing.T) {
	e := Endpoint{Target: Target{Host: "a.example"}}
	if c, err := e.Trust(); err != nil || c.ServerName != "a.example" || c.InsecureSkipVerify || c.RootCAs != nil {
		t.Errorf("%+v, %v", c, err)
	}
	e.TLS = TLS{ServerName: "b.example", Insecure: true}
	if c, err := e.Trust(); err != nil || c.ServerName != "b.example" || !c.InsecureSkipVerify || c.RootCAs != nil {
		t.Errorf("%+v, %v", c, err)
	}
	e.TLS = TLS{CA: "no certificate"}
	if c, err := e.Trust(); err == nil || c.RootCAs == nil || !c.RootCAs.Equal(x509.NewCertPool()) {
		t.Errorf("%+v, %v", c, err)
	}
}
