package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/erlmcp/erlmcp/proxy"
	"github.com/erlmcp/erlmcp/proxy/internal/proxytest"
)

// TestPeersAgree sends what senders should not do to this balancer and to those that are installed. What
// all of them read in one way passes here too; what passes with them although others may read it in
// another way is refused.
func TestPeersAgree(t *testing.T) {
	node := proxytest.StartSite(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
	})
	_, text, _ := net.SplitHostPort(node)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	b := startWorker(t, []string{node}, func(s *proxy.Spec) { s.Limits.ConnectionsPerSecond, s.Limits.MessagesPerSecond = 0, 0 })
	peers := map[string]string{"erlmcp": b.Web}
	for _, e := range []*proxytest.Engine{proxytest.HAProxyHTTPEngine(t, []proxytest.Site{{HTTP: port}}, nil), proxytest.NginxHTTPEngine(t, []proxytest.Site{{HTTP: port}}, nil)} {
		if e != nil {
			e.Start(t)
			peers[e.Name] = e.Address
		}
	}
	const get, post, next = "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	for name, test := range map[string]struct{ asked, want string }{
		"empty line":                  {"\r\n" + get + "\r\n", "GET / "},
		"empty lines":                 {"\r\n\n\r\n" + get + "\r\n", "GET / "},
		"CRLF behind a body":          {post + "Content-Length: 2\r\n\r\n{}\r\n" + next, "POST / {}|GET /next "},
		"LF behind a body":            {post + "Content-Length: 2\r\n\r\n{}\n" + next, "POST / {}|GET /next "},
		"bare LF":                     {"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}" + next, "POST / {}|GET /next "},
		"spaces":                      {"GET   /   HTTP/1.1\r\nHost: a\r\n\r\n", "GET / "},
		"1.2":                         {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / "},
		"quotation marks in a query":  {`GET /?q="b" HTTP/1.1` + "\r\nHost: a\r\n\r\n", `GET /?q="b" `},
		"quotation marks in a path":   {`GET /"b" HTTP/1.1` + "\r\nHost: a\r\n\r\n", `GET /"b" `},
		"angle brackets":              {"GET /<a>?<b> HTTP/1.1\r\nHost: a\r\n\r\n", "GET /<a>?<b> "},
		"port with zeros":             {"GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", "GET / "},
		"registered name":             {"GET / HTTP/1.1\r\nHost: a!$&'()*+;=b\r\n\r\n", "GET / "},
		"length with zeros":           {post + "Content-Length: 0010\r\n\r\n0123456789" + next, "POST / 0123456789|GET /next "},
		"option not a token":          {get + "Connection: a;b\r\n\r\n", "GET / "},
		"two upgrades":                {get + "Upgrade: a\r\nUpgrade: b\r\n\r\n", "GET / "},
		"trailer not a token":         {post + "Trailer: a b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, "POST / |GET /next "},
		"nothing expected":            {get + "Expect:\r\n\r\n", "GET / "},
		"white space behind a size":   {chunked + "2 \t\r\n{}\r\n0  \r\n\r\n" + next, "POST / {}|GET /next "},
		"white space and extension":   {chunked + "2 ;a=b\r\n{}\r\n0\r\n\r\n" + next, "POST / {}|GET /next "},
		"lines that end in two ways":  {"GET / HTTP/1.1\nHost: a\r\n\r\n", "400"},
		"bare LF in a value":          {get + "X: a\n\r\n", "400"},
		"bare LF behind a size":       {chunked + "2\n{}\r\n0\r\n\r\n", "400"},
		"backslash":                   {"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"list of hosts":               {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"},
		"user of a host":              {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"},
		"another scheme":              {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"length named by Connection":  {post + "Connection: Content-Length\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"session named by Connection": {get + "Connection: Mcp-Session-Id\r\nMcp-Session-Id: 1\r\n\r\n", "400"},
		"two sessions":                {get + "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n\r\n", "400"},
		"obscured expectation":        {post + "Expect: y 100-continue\r\nContent-Length: 2\r\n\r\n{}", "417"},
		"control character":           {get + "X: a\ab\r\n\r\n", "400"},
		"folded trailer":              {chunked + "0\r\nX: 1\r\n 2\r\n\r\n", "400"},
	} {
		t.Run(name, func(t *testing.T) {
			for peer, address := range peers {
				if refused := len(test.want) == len("400"); refused && peer != "erlmcp" {
					continue
				}
				if got := said(t, address, test.asked, strings.Count(test.want, "|")+1); got != test.want {
					t.Errorf("%s says %q, want %q", peer, got, test.want)
				}
			}
		})
	}
}

// said is what comes back for a piece of input: the bodies of that many answers, or the status of one that
// is no success.
func said(t *testing.T, address, asked string, answers int) string {
	t.Helper()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, asked)
	var list []string
	for r := bufio.NewReader(c); len(list) < answers; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return strings.Join(append(list, err.Error()), "|")
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Sprint(resp.StatusCode)
		}
		list = append(list, string(body))
	}
	return strings.Join(list, "|")
}

// An empty line behind a body is not the beginning of anything: no answer, no haste.
func TestEmptyLineBehindABody(t *testing.T) {
	b := startWorker(t, []string{proxytest.StartSite(t, proxytest.Hello)}, func(s *proxy.Spec) {
		s.Timeouts.Request, s.Timeouts.Keepalive = time.Second, 3*time.Second
	})
	for _, end := range []string{"\r\n", "\n", "\r\n\r\n"} {
		c := b.Visit()
		c.Say(proxytest.PostRequest + end)
		if _, got := c.Answer("POST"); got != "hello" {
			t.Fatal(got)
		}
		c.Say("\r")
		c.Say("\n" + proxytest.GetRequest)
		if _, got := c.Answer("GET"); got != "hello" {
			t.Fatal(got)
		}
		c.Say(end)
		c.Ended() // when it has been idle, without a word
	}
}
