package nodelog

import "github.com/erlmcp/erlmcp/internal/units"

// Spec is where what nodes print goes: DIR/NAME.log, and DIR/NAME.log.1 … NAME.log.KEEP for what
// came before.
type Spec struct {
	Dir     string      `yaml:"dir" json:"dir"`           // empty: logs in the state directory
	MaxSize units.Bytes `yaml:"max_size" json:"max_size"` // a file that would grow over it is rotated
	Keep    int         `yaml:"keep" json:"keep"`         // rotated files kept beside the current one
	MaxLine units.Bytes `yaml:"max_line" json:"max_line"` // a longer line is cut; 0 in a Spec that was not decoded over Default is 4MiB
}

// Bounds of what a Spec may ask for.
const (
	minSize        = 128 * units.KiB
	minLine        = units.KiB
	maxLine        = 64 * units.MiB
	defaultMaxLine = 4 * units.MiB
	maxKeep        = 1000
)

// Default keeps six files of 64 MiB of each node.
func Default() Spec { return Spec{MaxSize: 64 * units.MiB, Keep: 5, MaxLine: defaultMaxLine} }

// Validate adds what is wrong, with the key that it is wrong about.
func (s Spec) Validate(add func(field, format string, args ...any)) {
	if s.MaxSize < minSize {
		add("logs.max_size", "%v is less than %v", s.MaxSize, minSize)
	}
	if s.Keep < 0 || s.Keep > maxKeep {
		add("logs.keep", "%d is not within 0..%d", s.Keep, maxKeep)
	}
	if n := s.MaxLine; n != 0 && (n < minLine || n > maxLine) {
		add("logs.max_line", "%v is not within %v..%v", n, minLine, maxLine)
	}
}
