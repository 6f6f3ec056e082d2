package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// What is demanded.
const (
	// slower is how many times slower one answer of a hundred may be than without the siege.
	slower = 3
	// disturbance is how much of a processor other programs may take before times say nothing.
	disturbance = .25
	// A process is flat when over the second half of the siege it grows by less than a tenth, or than what a
	// collector lets pile up between two of its rounds. What strangers hold is given up after 30 s, and sessions that
	// are never used after a minute, so that memory still fills in a siege of less than twice that.
	flatPart  = .10
	flatBytes = 24 << 20
	flatAfter = 2 * time.Minute
	// mostMemory of one process: of a node that is 192 MiB for what clients send and do not read, and a heap of 320 MiB.
	mostMemory = 512 << 20
	// leftMemory is by how much all processes together may have grown when all have gone: sessions that were never
	// ended stay, as their clients may come back.
	leftMemory = 256 << 20
	// leftDescriptors may be open more: connections to nodes that are kept for the next client.
	leftDescriptors = 64
	mostSessions    = 10_000 // of a node
)

const mib = 1 << 20

// report prints what was done and what came of it.
func report(out io.Writer, besieged, idle, busy *observed) {
	fmt.Fprintf(out, "\nsiege of %v; then %v each without it, while loops compute as much as the attackers did, and as the siege did\n\n",
		besieged.lasted.Round(time.Second), busy.lasted.Round(time.Second))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ATTACK\tLIMITS\tSOURCES\tAT ONCE\tDONE\tREFUSED\tCUT OFF\tHELD\tNOT TRIED")
	for _, y := range besieged.tallies {
		limits := "below"
		if y.Above {
			limits = "above"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", y.Attack, limits, y.Sources, y.Most, y.Ends[done], y.Ends[refused], y.Ends[cut], y.Ends[held], y.Skipped)
	}
	_ = t.Flush()
	fmt.Fprintln(t, "\nGOOD CLIENTS\t\tCALLS\tREFUSED\tFAILED\tP50\tP90\tP99\tP99.9\tMAX\tOPENINGS\tP50\tP99\tMAX")
	rows := func(name string, all []*service) {
		for _, a := range append(slices.Clone(all), total(all)) {
			c, o := a.calls, a.openings
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%v\t%v\t%v\t%v\t%v\t%d\t%v\t%v\t%v\n", name, a.kind, c.TotalCount(), a.refused, a.failed,
				took(c.ValueAtQuantile(50)), took(c.ValueAtQuantile(90)), took(c.ValueAtQuantile(99)), took(c.ValueAtQuantile(99.9)), took(c.Max()),
				o.TotalCount(), took(o.ValueAtQuantile(50)), took(o.ValueAtQuantile(99)), took(o.Max()))
		}
	}
	rows("siege", besieged.services)
	if *quiet > 0 {
		rows("attackers' share", idle.services)
		rows("siege's share", busy.services)
	}
	_ = t.Flush()
	fmt.Fprintln(t, "\nMEMORY\tSEEN\tFIRST\tMOST\tLAST\tSECOND HALF\tGROWS A MINUTE\tBY\t±\tDESCRIPTORS\tPROCESSORS")
	for _, h := range besieged.watch.histories() {
		g := h.trend()
		computed := (h.last.CPU - h.first).Seconds() / max(h.at[len(h.at)-1]-h.at[0], time.Second).Seconds()
		fmt.Fprintf(t, "%s\t%d s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.2f\n", h.name, len(h.at), size(float64(h.rss[0])), size(float64(slices.Max(h.rss))),
			size(float64(h.rss[len(h.rss)-1])), size(g.mean), size(g.perMinute), size(g.grown), size(g.doubt), h.last.Descriptors, computed)
	}
	_ = t.Flush()
	fmt.Fprintln(t, "\nPROCESSORS\tATTACKERS, LOOPS\tSYSTEM\tGOOD CLIENTS\tOTHER PROGRAMS")
	share := func(name string, o *observed) {
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\n", name, o.share(), o.systemShare(), o.good.Seconds()/o.lasted.Seconds(), o.strange())
	}
	share("siege", besieged)
	if *quiet > 0 {
		share("attackers' share", idle)
		share("siege's share", busy)
	}
	_ = t.Flush()
	s := besieged.stats
	fmt.Fprintf(out, "\nbalancer: %d connections came, %d sources of %d known, %d forgotten for others, %d not counted alone, %d banned\n",
		s.Connections.Total, s.Sources.Tracked, s.Sources.Capacity, s.Sources.Evictions, s.Sources.Overflows, s.Sources.Banned)
	fmt.Fprintf(out, "refused: %s; cut off: %s\n\n", counts(s.Refused.Each), counts(s.Cut.Each))
}

func took(microseconds int64) time.Duration {
	d := time.Duration(microseconds) * time.Microsecond
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}

func size(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/mib) }

// times is how many times slower one call of a hundred is.
func times(a, b *service) float64 {
	return float64(a.calls.ValueAtQuantile(99)) / float64(max(b.calls.ValueAtQuantile(99), 1))
}

// counts prints what is not zero.
func counts(each func(func(reason string, n uint64))) string {
	var names []string
	each(func(name string, n uint64) {
		if n > 0 {
			names = append(names, fmt.Sprintf("%s %d", name, n))
		}
	})
	slices.Sort(names)
	return fmt.Sprint(names)
}

func (w *watch) histories() (all []*history) {
	for _, pid := range w.order {
		all = append(all, w.all[pid])
	}
	slices.SortStableFunc(all, func(a, b *history) int { return strings.Compare(a.name, b.name) })
	return append(all, &w.total)
}

// demands are what has to be.
type demands struct {
	out    io.Writer
	failed int
}

func (d *demands) check(ok bool, format string, args ...any) {
	word := "ok  "
	if !ok {
		word = "FAIL"
		d.failed++
	}
	fmt.Fprintf(d.out, "%s  %s\n", word, fmt.Sprintf(format, args...))
}

// demand prints what is demanded and whether it is met.
func demand(out io.Writer, besieged, busy *observed) (failed int) {
	d := &demands{out: out}
	good, undisturbed := total(besieged.services), total(busy.services)
	d.check(good.refused+good.failed == 0, "besieged: %d of %d calls and openings refused, %d failed %s",
		good.refused, good.calls.TotalCount()+good.openings.TotalCount(), good.failed, good.problem)
	if *quiet > 0 {
		d.check(undisturbed.refused+undisturbed.failed == 0, "without: %d refused, %d failed %s", undisturbed.refused, undisturbed.failed, undisturbed.problem)
	}
	factor := times(good, undisturbed)
	took99 := fmt.Sprintf("one call of a hundred takes %v, %.2f × the %v without", took(good.calls.ValueAtQuantile(99)), factor,
		took(undisturbed.calls.ValueAtQuantile(99)))
	switch strange := max(besieged.strange(), busy.strange()); {
	case *quiet == 0:
	case strange > disturbance:
		fmt.Fprintf(out, "--    %s, but other programs took %.2f processors meanwhile\n", took99, strange)
	default:
		d.check(factor <= slower, "%s; at most %d ×", took99, slower)
	}
	short := besieged.lasted < flatAfter
	for _, y := range besieged.tallies {
		if n := y.Ends[done] + y.Ends[cut] + y.Ends[held]; n == 0 && !short { // a short one may not come to it
			d.check(false, "%s: nothing came of the attack", y.Attack)
		}
	}
	d.check(len(besieged.problems) == 0, "side doors and control: %d answers, %d failures %.3q", besieged.commands, len(besieged.problems), besieged.problems)
	changes := stateChanges(&besieged.stats) - besieged.before.changes
	d.check(changes == 0, "nodes changed their state %d times", changes)

	worst, least := "", 0.0
	for _, h := range besieged.watch.histories() {
		g := h.trend()
		grown := g.grown - g.doubt
		if bound := max(flatPart*g.mean, flatBytes); grown > bound && !short {
			d.check(false, "%s grows by %s ± %s in the second half, at most %s", h.name, size(g.grown), size(g.doubt), size(bound))
		} else if part := grown / bound; part > least || worst == "" {
			worst, least = fmt.Sprintf("%s by %s ± %s", h.name, size(g.grown), size(g.doubt)), part
		}
		if h == &besieged.watch.total {
			continue
		}
		most := float64(slices.Max(h.rss))
		d.check(most <= mostMemory, "%s takes %s at most, %s may be", h.name, size(most), size(mostMemory))
	}
	if short {
		fmt.Fprintf(out, "--    a siege of less than %v does not show whether memory is flat; most grows %s\n", flatAfter, worst)
	} else {
		d.check(true, "of what is flat, most grows %s in the second half: it may be less than %.0f%% or %s", worst, 100*flatPart, size(flatBytes))
	}

	after := besieged.after
	d.check(besieged.hasReturned(), "%v later there are %d connections, %d sessions (%d before), %d descriptors more, %s of memory (%s before)",
		besieged.returned.Round(time.Second), after.connections, after.sessions, besieged.before.sessions, besieged.moreDescriptors(),
		size(float64(after.rss)), size(float64(besieged.before.rss)))
	late := besieged.newcomers
	d.check(late.refused+late.failed == 0 && late.openings.TotalCount() > 0, "then: %d come anew, %d are refused, %d fail %s",
		late.openings.TotalCount(), late.refused, late.failed, late.problem)
	return d.failed
}

// hasReturned reports that a system holds as little as before, or what may stay.
func (o *observed) hasReturned() bool {
	return o.after.connections == 0 && o.moreDescriptors() <= leftDescriptors && o.after.rss <= o.before.rss+leftMemory &&
		o.after.sessions <= nodes*mostSessions
}

// moreDescriptors is how many more the process has open for which these are most. Those that came later have begun
// with none.
func (o *observed) moreDescriptors() (most int) {
	for name, n := range o.after.descriptors {
		if before, ok := o.before.descriptors[name]; ok {
			most = max(most, n-before)
		}
	}
	return most
}
