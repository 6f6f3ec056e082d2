package cmd

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/erlmcp/erlmcp/internal/prefork"
)

// versionInfo says which build of the program this is.
type versionInfo struct {
	Version  string `json:"version"` // of the module; nextVersion for a build that does not know it
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision, RFC 3339
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"built,omitempty"` // where there is no revision: when, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// nextVersion is the version of a build that the go command could not tell one, such as of "go run".
const nextVersion = "v0.1.0-dev"

// release is the version of a release, which the linker sets.
var release string

// readVersion takes what the linker wrote into this binary.
func readVersion() versionInfo {
	v := versionInfo{Version: nextVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	if release != "" {
		v.Version = release
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if v.Revision == "" && v.Version == nextVersion {
		v.Built = built()
	}
	return v
}

// built is when the file of this program was written, "" if that is not known.
func built() string {
	program, err := prefork.Executable()
	if err != nil {
		return ""
	}
	file, err := os.Stat(program)
	if err != nil {
		return ""
	}
	return file.ModTime().UTC().Format(time.RFC3339)
}

func newVersionCommand(a *app) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Print the version",
		Long: `Print the version, the platform, the Go release it was built with and, where the build knows it, the revision.
"erlmcp --version" is the same. A build that is no release says so: the version to come, and when it was built.`,
		Example: `  erlmcp version
  erlmcp version -o json`,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.print(format, v, func() error {
				_, err := fmt.Fprintln(a.stdout, v.line())
				return err
			})
		},
	}
	format.addOutputFlags(cmd)
	return cmd
}

// line is the version as people read it.
func (v versionInfo) line() string {
	line := fmt.Sprintf("erlmcp %s %s %s", v.Version, v.Platform, v.Go)
	if v.Revision != "" {
		line += " " + v.Revision
	}
	if v.Built != "" {
		line += " built " + v.Built
	}
	if v.Modified {
		line += " (modified)"
	}
	return line
}
