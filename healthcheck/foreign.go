package healthcheck

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// foreignPages are where engines other than our own tell what they do. Where the configuration has
// them elsewhere, Collector.Admin does.
var foreignPages = map[string]struct {
	address string
	paths   []string
	read    func(io.Reader, *Balancer) error
}{
	"haproxy": {"127.0.0.1:8404", []string{"/;csv", "/stats;csv"}, readHAProxy},
	"nginx":   {"127.0.0.1:8888", []string{"/nginx_status", "/stub_status", "/"}, readNginx},
}

// askForeign completes what is known of a balancer that is not ours by its page of statistics. It fails
// when there is none that can be read.
func (c *Collector) askForeign(ctx context.Context, b *Balancer) error {
	page, ok := foreignPages[b.Engine]
	if !ok {
		return errors.ErrUnsupported
	}
	var errs []error
	for _, address := range append(append([]string{}, c.Admin...), page.address) {
		for _, path := range page.paths {
			if err := get(ctx, "http://"+dialable(address)+path, func(r io.Reader) error { return page.read(r, b) }); err != nil {
				errs = append(errs, fmt.Errorf("%s%s: %w", address, path, err))
				continue
			}
			return nil
		}
	}
	return errors.Join(errs...)
}

// get reads a page within maxReply.
func get(ctx context.Context, url string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return read(io.LimitReader(resp.Body, maxReply))
}

// haproxyStates are the balancer's words for ours. HAProxy appends how many checks are to go: "UP 1/3".
var haproxyStates = map[string]string{"UP": "up", "no": "up", "DOWN": "down", "NOLB": "draining", "DRAIN": "draining", "MAINT": "maintenance"}

// readHAProxy reads the statistics in CSV (HAProxy's management guide, section 9.1). Clients are those of
// all frontends but the one that has no backend: the page's own.
func readHAProxy(r io.Reader, b *Balancer) error {
	in := csv.NewReader(bufio.NewReader(r))
	in.FieldsPerRecord = -1
	header, err := in.Read()
	if err != nil {
		return err
	}
	at := make(map[string]int)
	for i, name := range header {
		at[strings.TrimPrefix(name, "# ")] = i
	}
	for _, name := range []string{"pxname", "svname", "scur", "status", "rate"} {
		if _, ok := at[name]; !ok {
			return fmt.Errorf("statistics without the column %s", name)
		}
	}
	clients, rate, frontends := 0, 0.0, 0
	var nodes []BalancerNode
	for {
		row, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		field := func(name string) string {
			if i := at[name]; i < len(row) {
				return row[i]
			}
			return ""
		}
		current, _ := strconv.Atoi(field("scur"))
		perSecond, _ := strconv.ParseFloat(field("rate"), 64)
		switch name := field("svname"); {
		case name == "BACKEND":
		case name == "FRONTEND":
			if proxy := field("pxname"); proxy != "stats" && proxy != "admin" {
				clients, rate, frontends = clients+current, rate+perSecond, frontends+1
			}
		default:
			word, _, _ := strings.Cut(field("status"), " ")
			state := haproxyStates[word]
			if state == "" {
				state = "unknown"
			}
			nodes = addNode(nodes, BalancerNode{Name: name, State: state, Connections: current, Rate: &perSecond})
		}
	}
	if frontends > 0 {
		b.Clients, b.Rate = &clients, &rate
	}
	b.Nodes = nodes
	return nil
}

// addNode adds up what several backends have of a node; the worst state holds.
func addNode(nodes []BalancerNode, n BalancerNode) []BalancerNode {
	for i := range nodes {
		if have := &nodes[i]; have.Name == n.Name {
			have.Connections += n.Connections
			*have.Rate += *n.Rate
			if n.State != "up" {
				have.State = n.State
			}
			return nodes
		}
	}
	return append(nodes, n)
}

// readNginx reads the page of stub_status: it begins "Active connections: 291" and counts the request
// for itself.
func readNginx(r io.Reader, b *Balancer) error {
	var active int
	if _, err := fmt.Fscanf(bufio.NewReader(r), "Active connections: %d", &active); err != nil || active < 0 {
		return errors.New("not the page of stub_status")
	}
	active = max(active-1, 0)
	b.Clients = &active
	return nil
}
