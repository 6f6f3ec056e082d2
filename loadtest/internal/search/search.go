// Package search looks for the highest rate of requests at which limits hold, such as "p99<=50ms,errors<=0.1%". It is arithmetic:
// whoever uses it sends the requests.
//
//	s := search.New(search.Options{Limits: limits})
//	for {
//		rate, length, done := s.Next()
//		if done {
//			break
//		}
//		s.Report(trial(rate, length))
//	}
//	s.Result()
//
// The rate doubles until a limit breaks; then the gap between the rates that hold and those that do not is halved until it is
// narrow enough.
//
// A decision is made by a test with a stated probability of error (see examine). Where a trial does not suffice for that, it is
// repeated for longer, up to four times or until more would hardly help. From the first rate that this leaves open all trials are
// longer; what is open then too is as near to the limit as can be told, and counts neither as held nor as failed. While the rate
// doubles, a rate that looks well is not tried until that is certain.
//
// After a rate that breaks a limit the server gets time at a low rate, until the limits hold there. The rate that is going to be
// the result is tried once more at the end, for longer: what happens now and then may have been missed. Where that contradicts the
// first time, the search goes on below; a server that does so several times has no limit that can be found, which the result says.
package search

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Options say what is searched. Zero means the default.
type Options struct {
	Limits     Limits
	Start      float64       // a second, tried first; 100
	Max        float64       // a second; a million
	Precision  float64       // how far the highest rate that holds and the lowest that does not may be apart; 0.03
	Confidence float64       // that the limit is between them; 0.95
	Trial      time.Duration // the shortest from which a limit can be said to hold; 10 s, and no less
	Patience   time.Duration // for all trials together; 30 min
}

func (o Options) completed() Options {
	set := func(p *float64, otherwise float64) {
		if !(*p > 0) || math.IsInf(*p, 0) {
			*p = otherwise
		}
	}
	set(&o.Start, 100)
	set(&o.Max, 1e6)
	set(&o.Precision, 0.03)
	set(&o.Confidence, 0.95)
	o.Start = min(o.Start, o.Max)
	o.Precision = max(o.Precision, 0.001)
	o.Confidence = min(o.Confidence, 0.9999)
	o.Trial = max(o.Trial, minGroups*time.Second).Truncate(time.Second)
	if o.Patience <= 0 {
		o.Patience = 30 * time.Minute
	}
	return o
}

const (
	// warmUp is the beginning of a trial that does not count.
	warmUp = time.Second
	// looks is how many trials of a rate there are at most, each twice as long as the one before.
	looks = 4
	// noisy is how much longer trials take from the first rate on that no look could decide.
	noisy = 3
	// confirming is how much longer than the first trial of a rate the one is that confirms it.
	confirming = 4
	// spoils is how many trials in a row may say nothing about the server.
	spoils = 3
	// lowest is how far below Options.Start the search goes.
	lowest = 64
	// contradictions is how often a rate that held may fail later.
	contradictions = 4
	// The first rest at a low rate is so long, and each further one, of so many, twice as long.
	firstRest = 3 * time.Second
	rests     = 5
	// nearOne is the strain up to which rates say where it is 1.
	nearOne = 5
	// hot is the error of saying that a server has not yet recovered.
	hot = 0.01
)

// Trial is what came of one.
type Trial struct {
	Batches []Batch // second by second, by when requests were due
	// Spoiled is why it says nothing about the server: the generator was late, ports or CPU were exhausted. "" if it does.
	Spoiled string
}

// Tried is a trial that counts, as the result has it.
type Tried struct {
	Rate    float64 // asked for
	Length  time.Duration
	Got     float64 // good answers a second
	Held    bool    // as far as is known of the rate after it
	Why     string  // it did not hold, or says nothing
	Failed  float64 // share of the requests
	Purpose string  // grow, narrow, confirm or rest
}

// Result is the outcome.
type Result struct {
	Rate       float64 // the highest that was shown to hold; 0: none
	Failed     float64 // the lowest above it that was shown not to; 0: none
	Estimate   float64 // where between them the limit is likeliest, without a confidence; 0: nothing was shown to hold
	Confidence float64 // that the limit is between these two; where Failed is 0, that it is not below Rate. 0: nothing was shown
	Trials     []Tried // all, in their order
	Took       time.Duration
	Reason     string // the search ended for, if not because both are near each other
	// Inconclusive: what ended the search is not a limit of the server.
	Inconclusive bool
}

// purpose is what a trial is for.
type purpose int

const (
	grow purpose = iota
	narrow
	confirm
	resting
)

func (p purpose) String() string { return [...]string{"grow", "narrow", "confirm", "rest"}[p] }

// verdict is what is known of a rate.
type verdict int

const (
	likely    verdict = iota // it looked well while the rate grew
	held                     // shown
	undecided                // too near to the limit
	failed                   // shown
)

type known struct {
	rate float64
	verdict
	confirmed bool
}

// point is what was measured at a rate.
type point struct {
	rate    float64
	strain  float64 // share of the requests that break a limit, in parts of what it allows; of the limit where it is highest
	seconds float64
}

// Search is one search. It is not for use by several goroutines at a time.
type Search struct {
	o     Options
	alpha float64       // of one look
	trial time.Duration // the shortest trial
	known []known       // by rate
	seen  []point       // in the order of time

	// The trial that is due or under way.
	rate    float64
	length  time.Duration
	purpose purpose

	batches   []Batch // of all looks at the rate
	look      int
	spoiled   int // trials in a row
	rest      int // since the last overload; 0: none is due
	decisions int
	contrary  int
	result    Result
	done      bool
}

// New begins a search.
func New(o Options) *Search {
	s := &Search{o: o.completed()}
	s.trial = s.o.Trial
	// As many decisions as it may take share the probability of error, and so do the looks of each.
	growing := math.Ceil(math.Log2(s.o.Max/s.o.Start)) + 1
	narrowing := 2 * math.Ceil(math.Log2(math.Ln2/math.Log1p(s.o.Precision)))
	s.alpha = (1 - s.o.Confidence) / (growing + max(narrowing, 0) + 2) / looks
	s.choose()
	return s
}

// Next is the trial that is due: so many requests a second, evenly spaced, for so long. It is the same one until it is reported.
func (s *Search) Next() (rate float64, length time.Duration, done bool) {
	return s.rate, s.length, s.done
}

// Result is what is known now.
func (s *Search) Result() Result {
	r := s.result
	r.Trials = slices.Clone(r.Trials)
	if i := s.highest(held); i >= 0 {
		r.Rate = s.known[i].rate
	}
	if i := s.lowest(failed); i >= 0 {
		r.Failed = s.known[i].rate
	}
	r.Estimate = s.estimate()
	if r.Rate > 0 || r.Failed > 0 {
		spent := s.alpha * looks * float64(s.decisions)
		r.Confidence = max(0, min(s.o.Confidence, 1-spent))
	}
	return r
}

// estimate is where the strain is 1, as far as that is between what was shown, if it grows with the rate as an exponential does:
// the fit (of a Poisson regression) to what was seen near there, that is where it is not far too much. It is the middle of what
// was shown where there is no such fit, because the rates that were tried are on both sides of a cliff.
func (s *Search) estimate() float64 {
	low, high := s.highest(held), s.lowest(failed)
	switch {
	case low < 0:
		return 0
	case low == len(s.known)-1:
		return s.known[low].rate
	case high < 0:
		high = len(s.known) - 1
	}
	least, most := s.known[low].rate, s.known[high].rate
	middle := math.Sqrt(least * most)
	a, b := 0.0, 1.0 // the logarithm of the strain is a + b·x
	for range 50 {
		var ga, gb, haa, hab, hbb float64
		for _, p := range s.seen {
			if p.strain > nearOne || p.rate < least*least/most {
				continue
			}
			x := p.rate/middle - 1
			expected := p.seconds * math.Exp(a+b*x)
			off := p.strain*p.seconds - expected
			ga, gb = ga+off, gb+off*x
			haa, hab, hbb = haa+expected, hab+expected*x, hbb+expected*x*x
		}
		by := haa*hbb - hab*hab
		a, b = a+(ga*hbb-gb*hab)/by, b+(gb*haa-ga*hab)/by
	}
	if at := middle * (1 - a/b); b > 0 && at > 0 { // false also for what is no number
		return min(max(at, least), most)
	}
	return middle
}

// Report says what came of the trial that Next gave. After the last it does nothing.
func (s *Search) Report(t Trial) {
	if s.done {
		return
	}
	s.result.Took += s.length
	tried := Tried{Rate: s.rate, Length: s.length, Purpose: s.purpose.String(), Why: t.Spoiled}
	due, bad := 0.0, 0.0
	for _, b := range t.Batches {
		due, bad = due+float64(b.Due), bad+float64(b.Failed)
	}
	if seconds := float64(len(t.Batches)); due > 0 {
		tried.Got, tried.Failed = (due-bad)/seconds, bad/due
	}
	if t.Spoiled == "" && due+4*math.Sqrt(due) < 0.9*s.rate*s.length.Seconds()-1 {
		tried.Why = fmt.Sprintf("%.0f of %.0f requests were sent", due, s.rate*s.length.Seconds())
	}
	if tried.Why != "" {
		s.result.Trials = append(s.result.Trials, tried)
		s.spoil(tried.Why)
		return
	}
	s.spoiled = 0
	batches := t.Batches[min(len(t.Batches), int(warmUp/time.Second)):]
	if s.purpose == resting {
		tried.Why = s.recovering(batches)
		tried.Held = tried.Why == ""
		s.result.Trials = append(s.result.Trials, tried)
		s.recovered(tried.Why)
		return
	}
	s.batches = append(s.batches, batches...)
	v, why := s.examine()
	tried.Held, tried.Why = v == held || v == likely, why
	s.result.Trials = append(s.result.Trials, tried)
	s.decide(v)
}

// spoil repeats a trial that says nothing.
func (s *Search) spoil(why string) {
	if s.spoiled++; s.spoiled >= spoils {
		s.end(fmt.Sprintf("the generator is the limit at %s: %s", perSecond(s.rate), why), true)
		return
	}
	s.mindTime()
}

// strain is how near the rate is to the limit that is nearest, or how far beyond it: 1 is just at it.
func (s *Search) strain() (strain float64) {
	for i, l := range s.o.Limits {
		strain = max(strain, examine(s.batches, s.o.Limits, i, s.alpha).share/l.Share)
	}
	return strain
}

// examine is what all looks at the rate say of all limits: held or failed, likely if none looks broken, or undecided. Of the limits
// that are broken it names the one that is so by most: a request that fails breaks those of time, too.
func (s *Search) examine() (v verdict, why string) {
	v = held
	most := 0.0
	for i, l := range s.o.Limits {
		switch e := examine(s.batches, s.o.Limits, i, s.alpha); {
		case e.many <= s.alpha/float64(len(s.o.Limits)): // each of them may be wrong here
			v = failed
			if strain := e.share / l.Share; strain > most {
				most, why = strain, fmt.Sprintf("%s: %.3g %% of the requests break it", l.Text, 100*e.share)
			}
		case e.few <= s.alpha || v == failed:
		default:
			v = likely
			if e.share > l.Share {
				v = undecided
			}
			why = fmt.Sprintf("%s: %.3g %% of the requests break it, which may be chance", l.Text, 100*e.share)
		}
	}
	if v == likely && s.strain() > 1 {
		v = undecided
	}
	return v, why
}

// hopeless reports whether all looks together will hardly decide: a quantile grows with the root of the time, and may be off
// by one.
func (s *Search) hopeless() bool {
	have, all := float64(len(s.batches)), s.trial.Seconds()*(1<<looks-1)
	for i := range s.o.Limits {
		e := examine(s.batches, s.o.Limits, i, s.alpha)
		if z := normal(min(e.few, e.many)); z*math.Sqrt(all/have)+1 < normal(s.alpha) {
			return true
		}
	}
	return false
}

// mayHold reports whether a rate that breaks a limit does so by so little that it may be chance.
func (s *Search) mayHold() bool {
	for i := range s.o.Limits {
		if examine(s.batches, s.o.Limits, i, s.alpha).many < 0.02 {
			return false
		}
	}
	return s.strain() < 2
}

// decide goes on after a look.
func (s *Search) decide(v verdict) {
	switch {
	case v == failed || v == held:
	case s.purpose == grow && (v == likely || s.mayHold()):
		v = likely
	case s.look+1 < looks && (s.look == 0 || !s.hopeless()):
		s.look++
		s.length = s.lengthOf()
		s.mindTime()
		return
	case s.trial == s.o.Trial:
		s.trial *= noisy
		s.try(s.rate, s.purpose)
		return
	default:
		v = undecided
	}
	s.learn(v)
	if v == failed || v == undecided {
		s.rest = 1
	}
	s.choose()
}

// learn notes what the rate is, and forgets what that makes void: a server that holds a rate holds lower ones.
func (s *Search) learn(v verdict) {
	s.decisions++
	k := known{s.rate, v, s.purpose == confirm}
	s.seen = append(s.seen, point{s.rate, s.strain(), float64(len(s.batches))})
	s.known = slices.DeleteFunc(s.known, func(o known) bool {
		switch {
		case o.rate == k.rate:
		case v == failed && o.rate > k.rate && o.verdict != failed:
		case v == held && o.rate < k.rate && o.verdict == undecided:
		default:
			return false
		}
		if v == failed && o.verdict == held {
			s.contrary++
		}
		return true
	})
	at, _ := slices.BinarySearchFunc(s.known, k.rate, func(o known, rate float64) int {
		if o.rate < rate {
			return -1
		}
		return 1
	})
	s.known = slices.Insert(s.known, at, k)
	s.batches = nil
}

// highest is the index of the highest rate with one of the verdicts, or -1.
func (s *Search) highest(v ...verdict) int {
	for i := len(s.known) - 1; i >= 0; i-- {
		if slices.Contains(v, s.known[i].verdict) {
			return i
		}
	}
	return -1
}

// lowest is the index of the lowest rate with the verdict, or -1.
func (s *Search) lowest(v verdict) int {
	return slices.IndexFunc(s.known, func(k known) bool { return k.verdict == v })
}

// choose finds what is to be tried next.
func (s *Search) choose() {
	floor := s.highest(likely, held)
	ceiling := floor + 1 // the lowest that is undecided or failed
	last := len(s.known) - 1
	switch {
	case s.contrary > contradictions:
		s.end(fmt.Sprintf("rates that held fail later: the server changes while it is searched (%d times)", s.contrary), true)
	case s.rest > 0:
		s.try(s.restRate(), resting)
	case len(s.known) == 0:
		s.try(s.o.Start, grow)
	case floor == last && s.known[floor].rate < s.o.Max:
		s.try(min(2*s.known[floor].rate, s.o.Max), grow)
	case floor == last && s.known[floor].verdict == likely:
		s.try(s.known[floor].rate, narrow)
	case floor == last:
		s.end(fmt.Sprintf("%s is the highest rate that was asked for", perSecond(s.o.Max)), false)
	case floor < 0 && s.known[0].rate/2 < s.o.Start/lowest:
		s.end(fmt.Sprintf("no rate holds, down to %s", perSecond(s.known[0].rate)), false)
	case floor < 0:
		s.try(s.known[0].rate/2, grow)
	case s.apart(floor, ceiling):
		s.try(s.between(floor, ceiling), narrow)
	case s.known[floor].verdict == likely:
		s.try(s.known[floor].rate, narrow)
	case s.lowest(failed) < 0 && s.known[last].rate < s.o.Max:
		s.try(min(2*s.known[last].rate, s.o.Max), grow)
	case s.lowest(failed) > ceiling && s.apart(s.lowest(failed)-1, s.lowest(failed)):
		s.try(s.between(s.lowest(failed)-1, s.lowest(failed)), narrow)
	case !s.known[floor].confirmed:
		s.try(s.known[floor].rate, confirm)
	case s.lowest(failed) < 0:
		s.end("above the rate that holds it is too near to the limit to tell", false)
	default:
		s.end("", false)
	}
}

func (s *Search) apart(low, high int) bool {
	return s.known[high].rate/s.known[low].rate > 1+s.o.Precision
}

func (s *Search) between(low, high int) float64 {
	return math.Sqrt(s.known[low].rate * s.known[high].rate)
}

func (s *Search) try(rate float64, p purpose) {
	s.rate, s.purpose, s.look = rate, p, 0
	s.length = s.lengthOf()
	s.mindTime()
}

// lengthOf is how long the trial takes: twice as long each time, and as long as it takes to show anything.
func (s *Search) lengthOf() time.Duration {
	switch s.purpose {
	case resting:
		return firstRest << (s.rest - 1)
	case grow:
		if s.look == 0 {
			return s.trial/2 + warmUp
		}
		return s.trial<<(s.look-1) + warmUp
	}
	length := s.trial
	for _, l := range s.o.Limits {
		seconds := math.Ceil(1.1 * needed(l.Share, s.alpha) / s.rate)
		length = max(length, time.Duration(min(seconds, 1e6))*time.Second)
	}
	if s.purpose == confirm {
		length = max(length, confirming*s.o.Trial)
	}
	return length<<s.look + warmUp
}

// mindTime ends the search when there is no time left for the trial.
func (s *Search) mindTime() {
	if s.result.Took+s.length > s.o.Patience {
		s.end(fmt.Sprintf("another trial of %s at %s would take more than the %s for all", s.length, perSecond(s.rate), s.o.Patience), true)
	}
}

func (s *Search) end(reason string, inconclusive bool) {
	s.done, s.rate, s.length = true, 0, 0
	s.result.Reason, s.result.Inconclusive = reason, inconclusive
}

// restRate is so low that a server gets rid of what it has queued.
func (s *Search) restRate() float64 {
	if i := s.highest(likely, held); i >= 0 {
		return s.known[i].rate / 10
	}
	return s.known[0].rate / 20
}

// recovering is why the server has not yet recovered.
func (s *Search) recovering(batches []Batch) string {
	batches = batches[len(batches)/2:]
	for i, l := range s.o.Limits {
		n, x := 0.0, 0.0
		for _, b := range batches {
			n, x = n+float64(b.Due), x+float64(b.Breaking(s.o.Limits, i))
		}
		if n > 0 && atLeast(x, n, l.Share) <= hot {
			return fmt.Sprintf("%s: %.3g %% of the requests break it after an overload", l.Text, 100*x/n)
		}
	}
	return ""
}

// recovered goes on after a rest.
func (s *Search) recovered(why string) {
	switch {
	case why == "" || s.rest >= rests && s.highest(likely, held) < 0:
		s.rest = 0
	case s.rest >= rests:
		s.end(fmt.Sprintf("the server does not recover from an overload: at %s %s", perSecond(s.rate), why), true)
		return
	default:
		s.rest++
	}
	s.choose()
}

func perSecond(rate float64) string { return fmt.Sprintf("%.4g/s", rate) }
