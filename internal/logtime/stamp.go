package logtime

import (
	"strconv"
	"time"
)

// stamp reads the date and time that a text begins with, in any of
//
//	2026-01-31T12:00:00.5+01:00   2026-01-31 12:00:00,123 +0100   2026/01/31 12:00:00   RFC 3339 and its kin
//	31-Jan-2026::12:00:00.5   31/Jan/2026:12:00:00 +0100   31 Jan 2026 12:00:00         Erlang, web servers
//	Jan 31 12:00:00   Jan 31 2026 12:00:00   Sat Jan 31 12:00:00 2026   Sat, 31 Jan …   syslog, ctime, RFC 5322
//	12:00:00.5                                                                         a time of the last day
//	1769857200.5                                                                       seconds, ms, µs or ns since 1970
//
// A time without a zone is one of now's.
func stamp(s *scan, now time.Time) (time.Time, bool) {
	for _, read := range []func(*scan, time.Time) (time.Time, bool){numeric, dayFirst, monthFirst, timeOnly, epochWord} {
		attempt := *s
		if at, ok := read(&attempt, now); ok {
			*s = attempt
			return at, true
		}
	}
	return time.Time{}, false
}

// date makes a time of what was read, if there is such a day.
func date(year int, month time.Month, day, hour, minute, second, nanosecond int, zone *time.Location) (time.Time, bool) {
	at := time.Date(year, month, day, hour, minute, second, nanosecond, zone)
	valid := 1 <= month && month <= 12 && 1 <= day && day <= 31 && time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Day() == day
	return at, valid
}

// zoned reads a zone; none is now's.
func (s *scan) zoned(now time.Time) *time.Location {
	if zone, ok := s.zone(); ok {
		return zone
	}
	return now.Location()
}

func numeric(s *scan, now time.Time) (time.Time, bool) {
	year, month, day, ok := s.calendar("-/.")
	if !ok || !s.skip("Tt _") {
		return time.Time{}, false
	}
	s.blanks()
	hour, minute, second, ns, ok := s.clock(false)
	if !ok {
		return time.Time{}, false
	}
	return date(year, month, day, hour, minute, second, ns, s.zoned(now))
}

func dayFirst(s *scan, now time.Time) (time.Time, bool) {
	s.weekday()
	day, ok := s.digits(1, 2)
	if !ok || !s.skip("-/ .") {
		return time.Time{}, false
	}
	month, ok := s.month()
	if !ok || !s.skip("-/ .") {
		return time.Time{}, false
	}
	year, ok := s.digits(4, 4)
	if !ok || !s.skip(": T") {
		return time.Time{}, false
	}
	s.skip(":") // Erlang has two
	hour, minute, second, ns, ok := s.clock(false)
	if !ok {
		return time.Time{}, false
	}
	return date(year, month, day, hour, minute, second, ns, s.zoned(now))
}

func monthFirst(s *scan, now time.Time) (time.Time, bool) {
	s.weekday()
	month, ok := s.month()
	if !ok || s.blanks() == 0 {
		return time.Time{}, false
	}
	day, ok := s.digits(1, 2)
	if !ok {
		return time.Time{}, false
	}
	s.skip(",")
	s.blanks()
	year, known := s.digits(4, 4)
	s.blanks()
	hour, minute, second, ns, ok := s.clock(false)
	if !ok {
		return time.Time{}, false
	}
	zone := s.zoned(now)
	if after := *s; !known && after.skip(" ") { // ctime has the year at its end
		if year, known = after.digits(4, 4); known {
			*s = after
		}
	}
	if known {
		return date(year, month, day, hour, minute, second, ns, zone)
	}
	return lastOf(now, zone, month, day, hour, minute, second, ns)
}

// ahead is how far the clock of whoever writes a log may be ahead of this one.
const ahead = 24 * time.Hour

// lastOf is the latest such time of any year that is not ahead.
func lastOf(now time.Time, zone *time.Location, month time.Month, day, hour, minute, second, ns int) (time.Time, bool) {
	for year := now.Year() + 1; year >= now.Year()-4; year-- { // a leap day is not in every year
		at, ok := date(year, month, day, hour, minute, second, ns, zone)
		if ok && at.Before(now.Add(ahead)) {
			return at, true
		}
	}
	return time.Time{}, false
}

// timeOnly is the latest such time of any day that is not ahead.
func timeOnly(s *scan, now time.Time) (time.Time, bool) {
	hour, minute, second, ns, ok := s.clock(false)
	if !ok {
		return time.Time{}, false
	}
	at := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, second, ns, now.Location())
	if at.After(now.Add(time.Minute)) {
		at = at.AddDate(0, 0, -1)
	}
	return at, true
}

// epochWord reads a number that stands alone.
func epochWord(s *scan, _ time.Time) (time.Time, bool) {
	i := 0
	for i < len(s.rest) && (isDigit(s.rest[i]) || s.rest[i] == '.' || s.rest[i] == 'e' || s.rest[i] == '+') {
		i++
	}
	if i < len(s.rest) && isLetter(s.rest[i]) {
		return time.Time{}, false
	}
	at, ok := epoch(string(s.rest[:i]))
	if ok {
		s.rest = s.rest[i:]
	}
	return at, ok
}

// epoch is the time of a number of seconds, milliseconds, microseconds or nanoseconds since 1970: whichever of them
// gives a year from 2001 to 2286.
func epoch(text string) (time.Time, bool) {
	for unit, most := time.Second, 1e10; unit > 0; unit, most = unit/1000, most*1000 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err == nil && float64(n) >= most/10 && float64(n) < most {
			perSecond := int64(time.Second / unit)
			return time.Unix(n/perSecond, n%perSecond*int64(unit)), true
		}
		f, err := strconv.ParseFloat(text, 64)
		if err == nil && f >= most/10 && f < most {
			seconds := f * float64(unit) / float64(time.Second)
			whole := int64(seconds)
			return time.Unix(whole, int64((seconds-float64(whole))*1e9)), true
		}
	}
	return time.Time{}, false
}
