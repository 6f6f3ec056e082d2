package show

import (
	"path/filepath"
	"slices"
	"strings"
)

// Command is a command line without secrets: of header fields only the names, of URLs no query.
func Command(args []string) []string {
	shown := slices.Clone(args)
	if len(shown) > 0 {
		shown[0] = filepath.Base(shown[0])
	}
	for i, arg := range shown {
		flag, field, joined := strings.Cut(arg, "=")
		switch {
		case strings.Contains(arg, "://") && strings.Contains(arg, "?"):
			shown[i] = arg[:strings.IndexByte(arg, '?')] + "?…"
		case strings.TrimLeft(flag, "-") != "header" || !strings.HasPrefix(flag, "--"):
		case joined:
			shown[i] = flag + "=" + nameOnly(field)
		case i+1 < len(shown):
			shown[i+1] = nameOnly(shown[i+1])
		}
	}
	return shown
}

func nameOnly(field string) string {
	name, _, ok := strings.Cut(field, ":")
	if !ok {
		return "…"
	}
	return name + ": …"
}
