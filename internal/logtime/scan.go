package logtime

import (
	"bytes"
	"time"
)

// scan reads a text from its beginning. Its methods report whether what they look for stands there, and only then
// go on behind it.
type scan struct{ rest []byte }

// char reads one of these characters.
func (s *scan) char(any string) (c byte, ok bool) {
	if len(s.rest) == 0 || bytes.IndexByte([]byte(any), s.rest[0]) < 0 {
		return 0, false
	}
	c, s.rest = s.rest[0], s.rest[1:]
	return c, true
}

func (s *scan) skip(any string) bool {
	_, ok := s.char(any)
	return ok
}

// blanks reads any number of blanks and returns it.
func (s *scan) blanks() (n int) {
	for s.skip(" \t") {
		n++
	}
	return n
}

// digits reads a number of min to max digits that is not followed by another one.
func (s *scan) digits(min, max int) (n int, ok bool) {
	i := 0
	for i < len(s.rest) && isDigit(s.rest[i]) {
		if i == max {
			return 0, false
		}
		n = n*10 + int(s.rest[i]-'0')
		i++
	}
	if i < min {
		return 0, false
	}
	s.rest = s.rest[i:]
	return n, true
}

// fixed reads a number of exactly so many digits, whatever follows.
func (s *scan) fixed(width int) (n int, ok bool) {
	if len(s.rest) < width {
		return 0, false
	}
	part := scan{s.rest[:width]}
	if n, ok = part.digits(width, width); ok {
		s.rest = s.rest[width:]
	}
	return n, ok
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// word reads letters.
func (s *scan) word() string {
	i := 0
	for i < len(s.rest) && isLetter(s.rest[i]) {
		i++
	}
	w := string(s.rest[:i])
	s.rest = s.rest[i:]
	return w
}

// month reads the English name of a month, or the first three letters of it.
func (s *scan) month() (time.Month, bool) {
	before := *s
	word := s.word()
	for m := time.January; m <= time.December; m++ {
		if name := m.String(); len(word) >= 3 && len(word) <= len(name) && name[:len(word)] == word {
			return m, true
		}
	}
	*s = before
	return 0, false
}

// weekday reads the short or long name of a day, if it stands there, and what parts it from the date.
func (s *scan) weekday() {
	after := *s
	word := after.word()
	for d := time.Sunday; d <= time.Saturday; d++ {
		if name := d.String(); word == name || word == name[:3] {
			*s = after
			s.skip(",")
			s.blanks()
			return
		}
	}
}

// calendar reads year, month and day with one of these characters between them.
func (s *scan) calendar(separators string) (year int, month time.Month, day int, ok bool) {
	after := *s
	year, ok = after.digits(4, 4)
	separator, is := after.char(separators)
	if !ok || !is {
		return 0, 0, 0, false
	}
	number, ok := after.digits(1, 2)
	if !ok || !after.skip(string(separator)) {
		return 0, 0, 0, false
	}
	if day, ok = after.digits(1, 2); !ok {
		return 0, 0, 0, false
	}
	*s = after
	return year, time.Month(number), day, true
}

// clock reads hh:mm:ss with a fraction, or where seconds may be missing hh:mm.
func (s *scan) clock(shortToo bool) (hour, minute, second, nanosecond int, ok bool) {
	before := *s
	defer func() {
		if !ok {
			*s = before
		}
	}()
	hour, ok = s.digits(1, 2)
	if !ok || hour > 23 || !s.skip(":") {
		return 0, 0, 0, 0, false
	}
	minute, ok = s.digits(2, 2)
	if !ok || minute > 59 {
		return 0, 0, 0, 0, false
	}
	if !s.skip(":") {
		return hour, minute, 0, 0, shortToo
	}
	second, ok = s.digits(2, 2)
	if !ok || second > 60 {
		return 0, 0, 0, 0, false
	}
	nanosecond = s.fraction()
	return s.halfDay(hour), minute, second, nanosecond, true
}

// halfDay reads AM or PM, if it stands there, and returns the hour of the day.
func (s *scan) halfDay(hour int) int {
	after := *s
	after.skip(" ")
	switch after.word() {
	case "PM", "pm":
		hour = hour%12 + 12
	case "AM", "am":
		hour %= 12
	default:
		return hour
	}
	*s = after
	return hour
}

// fraction reads the part of a second, in nanoseconds, behind a dot or a comma; none is 0.
func (s *scan) fraction() int {
	after := *s
	if !after.skip(".,") || len(after.rest) == 0 || !isDigit(after.rest[0]) {
		return 0
	}
	n := 0
	for i := 0; len(after.rest) > 0 && isDigit(after.rest[0]); i++ {
		if i < 9 {
			n = n*10 + int(after.rest[0]-'0')
		}
		after.rest = after.rest[1:]
	}
	for i := len(s.rest) - len(after.rest) - 1; i < 9; i++ {
		n *= 10
	}
	*s = after
	return n
}

// zone reads Z, UTC, GMT, ±hh:mm, ±hhmm or ±hh, directly or, except for the last, behind a blank.
func (s *scan) zone() (zone *time.Location, ok bool) {
	after := *s
	apart := after.skip(" ")
	switch after.word() {
	case "Z", "UTC", "GMT":
		*s = after
		return time.UTC, true
	case "": // nothing was read
	default:
		return nil, false
	}
	sign, ok := after.char("+-")
	if !ok {
		return nil, false
	}
	hours, ok := after.fixed(2)
	if !ok || hours > 18 {
		return nil, false
	}
	minutes := 0
	if colon := after; colon.skip(":") {
		if minutes, ok = colon.fixed(2); !ok {
			return nil, false
		}
		after = colon
	} else if n, ok := after.fixed(2); ok {
		minutes = n
	} else if apart {
		return nil, false
	}
	if minutes > 59 || len(after.rest) > 0 && isDigit(after.rest[0]) {
		return nil, false
	}
	offset := hours*3600 + minutes*60
	if sign == '-' {
		offset = -offset
	}
	*s = after
	if offset == 0 {
		return time.UTC, true
	}
	return time.FixedZone("", offset), true
}
