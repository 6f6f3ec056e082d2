package web

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/affinity"
	"github.com/erlmcp/erlmcp/proxy/internal/board"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

func TestCookie(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1")}, nil)
	resp, got := b.send("GET", "/")
	cookies := (&http.Response{Header: resp.Header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != "SERVERID" || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" {
		t.Fatalf("cookies %v", cookies)
	}
	node, cookie := got[0], "Cookie: a=b; SERVERID="+cookies[0].Value+"; c=d"
	for range 4 {
		resp, got := b.send("GET", "/", cookie)
		if got[0] != node || got[2] != "a=b; c=d" || resp.Header.Get("Set-Cookie") != "" {
			t.Fatalf("%v, want %s; cookie %q", got, node, resp.Header.Get("Set-Cookie"))
		}
	}
	if _, got := b.send("GET", "/", "Cookie: SERVERID="+cookies[0].Value); got[0] != node || got[2] != "" {
		t.Errorf("alone: %v", got)
	}
	for _, state := range []board.State{board.Draining, board.Silent, board.Down} {
		slot := int(node[1] - '0')
		b.Board.SetNodeState(slot, state, time.Now())
		resp, got := b.send("GET", "/", cookie)
		if stays := got[0] == node; stays != (state != board.Down) || stays == (resp.Header.Get("Set-Cookie") != "") {
			t.Errorf("%s is %v: %v, cookie %q", node, state, got, resp.Header.Get("Set-Cookie"))
		}
	}
	for _, forged := range []string{"n0", "", strings.Repeat("A", affinity.TagLen)} {
		if resp, _ := b.send("GET", "/", "Cookie: SERVERID="+forged); resp.Header.Get("Set-Cookie") == "" {
			t.Errorf("%q passes for a cookie of ours", forged)
		}
	}
}

// Two balancers in a row have cookies of their own, and each leaves the other's alone.
func TestCookieOfAnotherName(t *testing.T) {
	const other = "edge"
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1")}, func(s *proxy.Spec) { s.Sticky.Cookie = other })
	resp, first := b.send("GET", "/", "Cookie: SERVERID=theirs")
	cookies := (&http.Response{Header: resp.Header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != other || first[2] != "SERVERID=theirs" {
		t.Fatalf("cookies %v, the node got %v", cookies, first)
	}
	for range 4 {
		resp, got := b.send("GET", "/", "Cookie: SERVERID=theirs; "+other+"="+cookies[0].Value)
		if got[0] != first[0] || got[2] != "SERVERID=theirs" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%v, want %s; cookie %q", got, first[0], resp.Header.Get("Set-Cookie"))
		}
	}
}

// No shared cache gets a cookie to give it to everybody.
func TestCookieAndCaches(t *testing.T) {
	for _, test := range []struct {
		method, said string // what the node says of caching
		cookie       bool
		want         string // what the client is told of it
	}{
		{"GET", "", true, "private"},
		{"HEAD", "", true, "private"},
		{"POST", "", true, ""},
		{"GET", "no-cache, no-transform", true, "no-cache, no-transform|private"},
		{"POST", "no-cache", true, "no-cache"},
		{"GET", "no-store", true, "no-store"},
		{"GET", "Private, max-age=60", true, "Private, max-age=60"},
		{"GET", `private="Set-Cookie"`, true, `private="Set-Cookie"|private`},
		{"GET", "max-age=0, must-revalidate", true, "max-age=0, must-revalidate|private"},
		{"GET", "public", false, "public"},
		{"GET", "Public , immutable", false, "Public , immutable"},
		{"GET", "max-age=60", false, "max-age=60"},
		{"POST", "max-age=60", false, "max-age=60"},
		{"GET", "s-maxage=60", false, "s-maxage=60"},
		{"GET", "public, no-store", true, "public, no-store"},
	} {
		b := startWorker(t, []string{proxytest.StartSite(t, func(w http.ResponseWriter, _ *http.Request) {
			if test.said != "" {
				w.Header().Set("Cache-Control", test.said)
			}
		})}, nil)
		resp, _ := b.send(test.method, "/")
		if got := strings.Join(resp.Header.Values("Cache-Control"), "|"); got != test.want || (resp.Header.Get("Set-Cookie") != "") != test.cookie {
			t.Errorf("%s with %q: %q, cookie %q", test.method, test.said, got, resp.Header.Get("Set-Cookie"))
		}
	}
}

func TestOtherCookies(t *testing.T) {
	for field, want := range map[string]string{
		"a=b": "Cookie: a=b\r\n", "SERVERID=x": "", "SERVERID=x; a=b": "Cookie: a=b\r\n", "a=b;SERVERID=x;;c": "Cookie: a=b; c\r\n",
		"XSERVERID=x": "Cookie: XSERVERID=x\r\n", "": "", "a=SERVERID=x": "Cookie: a=SERVERID=x\r\n", "SERVERID=x; SERVERID=y": "",
	} {
		if got := string(appendOtherCookies(nil, []byte("Cookie"), []byte(field), []byte("SERVERID="))); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

// A browser keeps its node by the cookie.
func TestCookieJar(t *testing.T) {
	b := startWorker(t, []string{tellingSite(t, "n0"), tellingSite(t, "n1")}, func(s *proxy.Spec) { s.Balance = proxy.BalanceRoundRobin })
	web := b.Browser()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	web.Jar = jar
	seen := map[byte]int{}
	for range 6 {
		resp, err := web.Get("http://" + b.Web + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		seen[body[1]]++
	}
	if len(seen) != 1 {
		t.Errorf("requests spread %v", seen)
	}
}
