package nodelog

import (
	"bytes"
	"regexp"
	"time"

	"github.com/erlmcp/erlmcp/internal/logtime"
)

// Filter chooses lines of logs.
type Filter struct {
	Since time.Time      // lines written before are left out; zero is none. One whose age cannot be told is not left out
	Match *regexp.Regexp // lines that it does not match are left out; nil is none
}

const (
	// mostHeld is how much of a log is held back until it is known whether it is old, in bytes.
	mostHeld = 16 << 20
	// heldLine is what a line takes besides, about.
	heldLine = 32
)

// age is what is known of how old a line of a log is.
type age int

const (
	unknown age = iota
	old
	fresh
)

// sieve is a filter of one log. A log is written in order, so a line whose own time cannot be told is at least as old
// as the next one whose time can, and belongs, if it is indented, to the one before it. Of what has been
// there already, lines of unknown age are held back until such a line or the end comes. What comes later is new.
type sieve struct {
	filter Filter
	now    time.Time
	print  func(line []byte) error

	live bool
	age  age // of the latest line whose time can be told
	held [][]byte
	size int // of held, in bytes
}

func (s *sieve) line(line []byte) error {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if s.live || s.filter.Since.IsZero() {
		return s.pass(line)
	}
	at, timed := logtime.Of(line, s.now)
	switch {
	case timed && at.Before(s.filter.Since):
		s.age, s.held, s.size = old, nil, 0
		return nil
	case timed || s.size > mostHeld:
		if err := s.release(); err != nil {
			return err
		}
		s.age = fresh
	case s.age == old && len(s.held) == 0 && indented(line):
		return nil
	case s.age != fresh:
		if s.matches(line) {
			s.held = append(s.held, bytes.Clone(line))
			s.size += heldLine + len(line)
		}
		return nil
	}
	return s.pass(line)
}

// pass prints a line that is not old, if it matches.
func (s *sieve) pass(line []byte) error {
	if !s.matches(line) {
		return nil
	}
	return s.print(line)
}

// goLive says that what has been there already is over.
func (s *sieve) goLive() error {
	s.live = true
	return s.release()
}

// release prints what is held back.
func (s *sieve) release() error {
	held := s.held
	s.held, s.size = nil, 0
	for _, line := range held {
		if err := s.print(line); err != nil {
			return err
		}
	}
	return nil
}

func indented(line []byte) bool { return len(line) == 0 || line[0] == ' ' || line[0] == '\t' }

var colours = []byte("\x1b[")

// matches reports whether the line matches, as it is or as it looks without colours.
func (s *sieve) matches(line []byte) bool {
	match := s.filter.Match
	return match == nil || match.Match(line) || bytes.Contains(line, colours) && match.Match(colourless(line))
}

// colourless is a line without the sequences that set colours.
func colourless(line []byte) []byte {
	var plain []byte
	for {
		before, rest, found := bytes.Cut(line, colours)
		plain = append(plain, before...)
		if !found {
			return plain
		}
		line = bytes.TrimPrefix(bytes.TrimLeft(rest, "0123456789;:"), []byte("m"))
	}
}
