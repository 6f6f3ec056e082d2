package loadtest

import (
	"strings"
	"sync"

	"github.com/erlmcp/erlmcp/loadtest/internal/want"
)

// wanted knows which figures a report has.
var wanted = sync.OnceValue(want.Of[Report])

// Figures are the paths of all figures of a report that can be wanted, in its order; NAME stands for the names of elements.
func Figures() []string { return wanted().Paths() }

// parseWants reads Spec.Want, each of which may be several.
func parseWants(texts []string) (wants want.Wants, err error) {
	for _, text := range texts {
		some, err := wanted().ParseAll(text)
		if err != nil {
			return nil, err
		}
		wants = append(wants, some...)
	}
	return wants, nil
}

// wants adds a line for every figure that had to be something. They may be about the lines before.
func (j *judgement) wants(s *Spec, r *Report) {
	if len(s.Want) == 0 {
		return
	}
	judged := *r
	judged.Checks = Checks(j.List)
	var outcomes []want.Outcome
	wants, err := parseWants(s.Want)
	if err == nil {
		outcomes, err = wants.Check(&judged)
	}
	if err != nil {
		j.Need("want", false, err.Error(), strings.Join(s.Want, ","), "")
		return
	}
	j.wanted = make(map[int]*want.Outcome)
	for _, o := range outcomes {
		j.wanted[len(j.List)] = &o
		j.List = append(j.List, o.Result())
	}
}
