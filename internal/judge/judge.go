// Package judge has what is judged, by doctor, by the preflight of a load test and by its checks.
package judge

import (
	"bytes"
	"encoding/json"
)

// Verdict is what came out, the gravest last.
type Verdict int

// The verdicts.
const (
	OK       Verdict = iota
	Unjudged         // there is nothing to judge it by, or it may be so or not
	Warn             // it works, though not as well as it could
	Fail
)

// Result is one thing that was judged.
type Result struct {
	Name      string
	Verdict   Verdict
	Worst     Verdict // what it is when it is not OK
	Got, Want string  // for people
	Numbers           // of Got and Want, for programs
	Why       string  // it was not judged
	Fix       string  // what to do when it is not OK
	Command   string  // that does it, if there is one
	Usage     bool    // what was asked makes no sense, on any machine
}

// Numbers are those of Got and Want. What is judged by them fails without GotValue, and when that is below WantMin or above
// WantMax. Results without numbers have none of them.
type Numbers struct {
	GotValue *float64 `json:"got_value,omitempty"`
	WantMin  *float64 `json:"want_min,omitempty"`
	WantMax  *float64 `json:"want_max,omitempty"`
	Unit     string   `json:"unit,omitempty"` // connections, clients, requests, ms, percent
}

// Number is one that something is judged by.
type Number interface{ ~int | ~int64 | ~float64 }

// UpTo is a number that may be so high.
func UpTo[N Number](got, limit N, unit string) Numbers {
	return Numbers{GotValue: new(float64(got)), WantMax: new(float64(limit)), Unit: unit}
}

// All is a number that should be as high as another.
func All[N Number](got, of N, unit string) Numbers {
	return Numbers{GotValue: new(float64(got)), WantMin: new(float64(of)), Unit: unit}
}

// Within reports whether the numbers are as they should be.
func (n Numbers) Within() bool {
	return n.GotValue != nil && (n.WantMin == nil || *n.GotValue >= *n.WantMin) && (n.WantMax == nil || *n.GotValue <= *n.WantMax)
}

// Suggest has a command that is what to do, if anything is.
func (r *Result) Suggest(command string) {
	if r.Verdict != OK {
		r.Command = command
	}
}

// Misuse says that failing is the fault of what was asked.
func (r *Result) Misuse() { r.Usage = r.Verdict == Fail }

// FailIf is for what is not in the numbers.
func (r *Result) FailIf(bad bool) {
	if bad {
		r.Verdict = Fail
	}
}

// Excuse says why it is not judged, whatever it is.
func (r *Result) Excuse(why string) { r.Verdict, r.Why = Unjudged, why }

// List is what is judged together.
type List []Result

func (l *List) add(r Result) *Result {
	*l = append(*l, r)
	return &(*l)[len(*l)-1]
}

// Judge adds what is OK or as bad as worst, with what to do then.
func (l *List) Judge(name string, ok bool, worst Verdict, got, want, fix string) *Result {
	r := Result{Name: name, Worst: worst, Got: got, Want: want}
	if !ok {
		r.Verdict, r.Fix = worst, fix
	}
	return l.add(r)
}

// Need adds what fails when it is not OK.
func (l *List) Need(name string, ok bool, got, want, fix string) *Result {
	return l.Judge(name, ok, Fail, got, want, fix)
}

// Advise adds what works without being OK.
func (l *List) Advise(name string, ok bool, got, want, fix string) {
	l.Judge(name, ok, Warn, got, want, fix)
}

// Measure adds what is judged by numbers, which the texts say.
func (l *List) Measure(name string, n Numbers, want, got string) *Result {
	r := l.Need(name, n.Within(), got, want, "")
	r.Numbers = n
	return r
}

// Unjudged adds what there is nothing to judge by.
func (l *List) Unjudged(name, want, why string) { l.Need(name, true, "-", want, "").Excuse(why) }

// Failed are those that fail.
func (l List) Failed() (failed List) {
	for _, r := range l {
		if r.Verdict == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

// JSON encodes a list in the shape that a report has promised.
func JSON[T any](l List, shape func(*Result) T) ([]byte, error) {
	shaped := make([]T, len(l))
	for i := range l {
		shaped[i] = shape(&l[i])
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // that is up to whoever encodes the report
	err := enc.Encode(shaped)
	return b.Bytes(), err
}
