package cluster

import (
	"fmt"

	"github.com/erlmcp/erlmcp/internal/advice"
	"github.com/erlmcp/erlmcp/internal/prefork"
)

// checkOpenFiles reports a limit that this process may not give to its children.
func checkOpenFiles(files int) error {
	most, err := prefork.Ceiling()
	if err != nil || uint64(files) <= most {
		return err
	}
	return advice.With(fmt.Errorf("cluster.open_files: %d is more than the hard limit of %d open files here", files, most),
		"raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit), or lower cluster.open_files")
}
