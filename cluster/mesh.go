package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/erlmcp/erlmcp/internal/tempo"
	"github.com/erlmcp/erlmcp/internal/topology"
)

// Distribution is how a node of a runtime whose nodes know each other stands to the others.
type Distribution struct {
	Name string   `json:"name"` // that others know it by
	Sees []string `json:"sees"` // the nodes it is connected to; those of the cluster by their short name; null when it does not tell
}

func (d *Distribution) equal(other *Distribution) bool {
	if d == nil || other == nil {
		return d == other
	}
	return d.Name == other.Name && slices.Equal(d.Sees, other.Sees) && (d.Sees == nil) == (other.Sees == nil)
}

const (
	surveyLooks   = 4                      // before a doubt is believed: nodes come and go meanwhile
	surveyRetry   = 250 * time.Millisecond // between two looks
	surveyTimeout = 3 * time.Second        // for all questions to a node
)

// surveyor finds out which nodes see which, introduces those that do not see each other, and tells the
// machines. A nil surveyor has nothing to find out.
type surveyor struct {
	mesh     mesh
	machines func() []*machine
	register *register
	pause    time.Duration // between two surveys while nothing changes

	mu sync.Mutex // one survey at a time
}

// view is what a survey found about one life of a node.
type view struct {
	pid          int
	distribution *Distribution
	doubt        string // why the node is degraded, "" if it is not
}

// run surveys whenever nodes have become ready or have ended, and now and then, until ctx ends.
func (s *surveyor) run(ctx context.Context) {
	tick := time.NewTicker(s.pause)
	defer tick.Stop()
	var known map[string]int
	for {
		nodes, changed := s.register.snapshot()
		if up := upPIDs(nodes); !maps.Equal(up, known) {
			known = up
			s.survey(ctx)
		}
		select {
		case <-changed:
		case <-tick.C:
			known = nil
		case <-ctx.Done():
			return
		}
	}
}

// upPIDs are the nodes that serve.
func upPIDs(nodes []NodeStatus) map[string]int {
	up := map[string]int{}
	for _, n := range nodes {
		if n.State.Serves() {
			up[n.Name] = n.PID
		}
	}
	return up
}

// survey asks all nodes that serve, and tells their machines, when nothing is in doubt or the doubts
// last.
func (s *surveyor) survey(ctx context.Context) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for look := 1; ; look++ {
		views, doubtful := s.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if !doubtful || look == surveyLooks {
			for m, v := range views {
				m.submit(order{verb: observe, view: v})
			}
			return
		}
		if tempo.Pause(ctx, surveyRetry) != nil {
			return
		}
	}
}

// look asks each node that serves which others it sees, and introduces it to those it does not.
func (s *surveyor) look(ctx context.Context) (views map[*machine]view, doubtful bool) {
	nodes, _ := s.register.snapshot()
	up := upPIDs(nodes)
	var mu sync.Mutex
	var wg sync.WaitGroup
	views = map[*machine]view{}
	for _, m := range s.machines() {
		pid, serves := up[m.node.Name]
		if !serves {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
			defer cancel()
			v := s.ask(ctx, m.node, up)
			v.pid = pid
			mu.Lock()
			defer mu.Unlock()
			views[m] = v
			doubtful = doubtful || v.doubt != ""
		})
	}
	wg.Wait()
	return views, doubtful
}

func (s *surveyor) ask(ctx context.Context, n topology.Node, up map[string]int) view {
	sees, err := s.mesh.Sees(ctx, n)
	if missing := s.missing(n, up, sees); err == nil && len(missing) > 0 {
		for _, m := range missing {
			_ = s.mesh.Introduce(ctx, n, s.mesh.Peer(m.node)) // what comes of it is seen next
		}
		sees, err = s.mesh.Sees(ctx, n)
	}
	v := view{distribution: &Distribution{Name: s.mesh.Peer(n)}}
	if err != nil {
		v.doubt = "its distribution does not answer: " + err.Error()
		return v
	}
	v.distribution.Sees = s.short(sees)
	var names []string
	for _, m := range s.missing(n, up, sees) {
		names = append(names, m.node.Name)
	}
	if len(names) > 0 {
		v.doubt = "does not see " + strings.Join(names, ", ")
	}
	return v
}

// missing are the nodes that serve and that n does not see.
func (s *surveyor) missing(n topology.Node, up map[string]int, sees []string) (missing []*machine) {
	for _, m := range s.machines() {
		if _, serves := up[m.node.Name]; serves && m.node.Name != n.Name && !slices.Contains(sees, s.mesh.Peer(m.node)) {
			missing = append(missing, m)
		}
	}
	return missing
}

// short gives nodes of the cluster the names they have there.
func (s *surveyor) short(peers []string) []string {
	names := make([]string, len(peers))
	for i, peer := range peers {
		names[i] = peer
		for _, m := range s.machines() {
			if s.mesh.Peer(m.node) == peer {
				names[i] = m.node.Name
			}
		}
	}
	return names
}
