package logtime

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrNoTime says that a text names no time.
var ErrNoTime = errors.New("is neither a time span like 5m, 1h30m, 2d or 1w nor a time like 12:00, yesterday, 2026-01-31, 2026-01-31 12:00 or 2026-01-31T12:00:00Z")

// Since is the time that a text names as journalctl understands it: a span before now ("5m", "1h 30min", "2 days ago",
// "-1w"), a time of today ("12:00"), a date, with a time or not ("2026-01-31 12:00", "2026-01-31T12:00:00Z"), "now",
// "today", "yesterday", "tomorrow", or "@" and seconds since 1970. Without a zone it is in now's. The error is ErrNoTime.
func Since(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	midnight := func(days int) time.Time {
		return time.Date(now.Year(), now.Month(), now.Day()+days, 0, 0, 0, 0, now.Location())
	}
	switch text {
	case "now":
		return now, nil
	case "today":
		return midnight(0), nil
	case "yesterday":
		return midnight(-1), nil
	case "tomorrow":
		return midnight(1), nil
	}
	if number, ok := strings.CutPrefix(text, "@"); ok {
		seconds, err := strconv.ParseFloat(number, 64)
		if err != nil || math.Abs(seconds) > 1e11 || math.IsNaN(seconds) {
			return time.Time{}, ErrNoTime
		}
		return time.UnixMicro(int64(math.Round(seconds * 1e6))), nil
	}
	if at, ok := clockOrDate(text, now); ok {
		return at, nil
	}
	sign := time.Duration(-1)
	switch ago, isAgo := strings.CutSuffix(text, "ago"); {
	case isAgo:
		text = ago
	case strings.HasPrefix(text, "-"):
		text = text[1:]
	case strings.HasPrefix(text, "+"):
		text, sign = text[1:], 1
	}
	d, ok := span(text)
	if !ok {
		return time.Time{}, ErrNoTime
	}
	return now.Add(sign * d), nil
}

// clockOrDate reads a time of today, or a date with a time or without.
func clockOrDate(text string, now time.Time) (time.Time, bool) {
	s := scan{[]byte(text)}
	if hour, minute, second, ns, ok := s.clock(true); ok {
		return time.Date(now.Year(), now.Month(), now.Day(), hour, minute, second, ns, now.Location()), len(s.rest) == 0
	}
	year, month, day, ok := s.calendar("-")
	if !ok {
		return time.Time{}, false
	}
	if len(s.rest) == 0 {
		return date(year, month, day, 0, 0, 0, 0, now.Location())
	}
	if !s.skip("Tt ") {
		return time.Time{}, false
	}
	s.blanks()
	hour, minute, second, ns, ok := s.clock(true)
	if !ok {
		return time.Time{}, false
	}
	at, ok := date(year, month, day, hour, minute, second, ns, s.zoned(now))
	return at, ok && len(s.rest) == 0
}

const day = 24 * time.Hour

// unitOf are the units of a span, as systemd.time(7) has them.
var unitOf = map[string]time.Duration{
	"ns": time.Nanosecond, "nsec": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "usec": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
	"M": 2629800 * time.Second, "month": 2629800 * time.Second, "months": 2629800 * time.Second,
	"y": 31557600 * time.Second, "year": 31557600 * time.Second, "years": 31557600 * time.Second,
}

// span reads numbers with units, each with blanks around or not.
func span(text string) (total time.Duration, ok bool) {
	text = strings.TrimSpace(text)
	if text == "0" {
		return 0, true
	}
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end <= 0 {
			return 0, false
		}
		n, err := strconv.ParseFloat(text[:end], 64)
		if err != nil {
			return 0, false
		}
		text = strings.TrimLeft(text[end:], " ")
		end = strings.IndexFunc(text, func(r rune) bool { return r == ' ' || '0' <= r && r <= '9' })
		if end < 0 {
			end = len(text)
		}
		unit, known := unitOf[text[:end]]
		sum := float64(total) + n*float64(unit)
		if !known || sum > math.MaxInt64/2 {
			return 0, false
		}
		total = time.Duration(sum)
		text = strings.TrimLeft(text[end:], " ")
		ok = true
	}
	return total, ok
}
