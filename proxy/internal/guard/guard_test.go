package guard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// ask sends a request to h and returns the answer.
func ask(h http.Handler, method, host string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://placeholder/", nil)
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHosts(t *testing.T) {
	h := Hosts(func() []string { return []string{"lb.example.org"} }, ok)
	for host, want := range map[string]int{
		"":                         204,
		"localhost":                204,
		"LOCALHOST:8404":           204,
		"localhost.:8404":          204,
		"127.0.0.1:8404":           204,
		"127.1.2.3":                204,
		"[::1]:8404":               204,
		"[::1]":                    204,
		"192.0.2.7:8404":           204,
		"lb.example.org":           204,
		"LB.Example.org.:8404":     204,
		"example.org":              403,
		"localhost.example.org":    403,
		"127.0.0.1.example.org":    403,
		"xlb.example.org:8404":     403,
		"lb.example.org.evil.test": 403,
		"localhost:8404:8404":      403,
		"[localhost":               403,
		"0x7f000001":               403,
	} {
		if got := ask(h, "GET", host); got.Code != want {
			t.Errorf("%q: got %d, want %d", host, got.Code, want)
		}
	}
	if body := ask(h, "GET", "evil.test").Body.String(); !strings.Contains(body, `lb.admin.hosts`) {
		t.Errorf("the refusal does not say what to do: %s", body)
	}
}

func TestSameOrigin(t *testing.T) {
	const host = "127.0.0.1:8404"
	h := SameOrigin(ok)
	for name, test := range map[string]struct {
		headers []string
		want    int
	}{
		"no browser":          {nil, 204},
		"own page":            {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://" + host}, 204},
		"own page, old":       {[]string{"Origin", "http://" + host}, 204},
		"other site":          {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://evil.test"}, 403},
		"other site, old":     {[]string{"Origin", "http://evil.test"}, 403},
		"other port":          {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:9000"}, 403},
		"other port, old":     {[]string{"Origin", "http://127.0.0.1:9000"}, 403},
		"sandbox":             {[]string{"Origin", "null"}, 403},
		"lies in Origin only": {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://" + host}, 403},
	} {
		if got := ask(h, "POST", host, test.headers...); got.Code != test.want {
			t.Errorf("%s: got %d, want %d", name, got.Code, test.want)
		}
	}
}

func TestToken(t *testing.T) {
	token := NewToken()
	if other := NewToken(); token == other || len(token) < 26 {
		t.Fatalf("tokens are %d letters, equal: %v", len(token), token == other)
	}
	h := token.Require(ok)
	for name, test := range map[string]struct {
		headers []string
		want    int
	}{
		"right":         {[]string{"Authorization", "Bearer " + string(token)}, 204},
		"lower case":    {[]string{"Authorization", "bearer " + string(token)}, 204},
		"none":          {nil, 401},
		"empty":         {[]string{"Authorization", "Bearer "}, 401},
		"scheme alone":  {[]string{"Authorization", "Bearer"}, 401},
		"other scheme":  {[]string{"Authorization", "Basic " + string(token)}, 401},
		"wrong":         {[]string{"Authorization", "Bearer " + string(NewToken())}, 401},
		"prefix":        {[]string{"Authorization", "Bearer " + string(token[:10])}, 401},
		"with a suffix": {[]string{"Authorization", "Bearer " + string(token) + "A"}, 401},
	} {
		got := ask(h, "POST", "localhost", test.headers...)
		if got.Code != test.want || (test.want == 401) != (got.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: got %d, want %d", name, got.Code, test.want)
		}
		if strings.Contains(got.Body.String(), string(token)) {
			t.Errorf("%s: the answer holds the token", name)
		}
	}
	if got := ask(Token("").Require(ok), "POST", "localhost", "Authorization", "Bearer "); got.Code != 401 {
		t.Errorf("without a token everything is let in: %d", got.Code)
	}
}
