package cgroupfs

import (
	"strings"
	"testing"
)

func TestPathOf(t *testing.T) {
	tests := map[string]string{
		"12:pids:/user.slice\n1:name=systemd:/user.slice\n": "",
		"9:name=systemd:/\n4:memory:/a\n0::/\n":             "/",
		"0::/system.slice/erlmcp-cluster.service\n":         "/system.slice/erlmcp-cluster.service",
		"1:name=systemd:/\n0::/user.slice/app-a:b.scope\n":  "/user.slice/app-a:b.scope",
		"0::/../../machine.slice/other\n":                   "/../../machine.slice/other",
		"10:cpu:/0::/trap\n":                                "",
		"":                                                  "",
	}
	for text, want := range tests {
		if got := PathOf(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestUnifiedDirs(t *testing.T) {
	const (
		root   = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
		v1     = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
		hybrid = root + v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		v2     = root + "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
		bound  = root + "600 590 0:26 /docker/4f5e /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
		above  = root + "600 590 0:26 /.. /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
		blank  = root + `600 590 0:26 /a\040b /mnt/c\134d\040e rw - cgroup2 cgroup rw` + "\n"
		trap   = root + "601 590 0:99 / /mnt/cgroup2 rw - fuse.x cgroup2 rw\nnonsense\n - cgroup2\n\n"
	)
	tests := []struct{ name, mountinfo, path, want string }{
		{"v1", root + v1, "", ""},
		{"v1 with a path", root + v1, "/", ""},
		{"hybrid", hybrid, "/", "/sys/fs/cgroup/unified"},
		{"hybrid below", hybrid, "/a/b", "/sys/fs/cgroup/unified/a/b"},
		{"no path", hybrid, "", ""},
		{"v2", v2, "/system.slice/x.service", "/sys/fs/cgroup/system.slice/x.service"},
		{"outside of the namespace", v2, "/../x", ""},
		{"a name with dots", v2, "/..x", "/sys/fs/cgroup/..x"},
		{"container", bound, "/docker/4f5e", "/sys/fs/cgroup"},
		{"container below", bound, "/docker/4f5e/init", "/sys/fs/cgroup/init"},
		{"another container", bound, "/docker/4f5e6", ""},
		{"host", bound, "/", ""},
		{"mount from above the namespace", above, "/", ""},
		{"blanks", blank, "/a b/c", `/mnt/c\d e/c`},
		{"two mounts", v2 + bound, "/docker/4f5e", "/sys/fs/cgroup/docker/4f5e /sys/fs/cgroup"},
		{"another file system", trap, "/", ""},
	}
	for _, test := range tests {
		if got := strings.Join(unifiedDirs(test.mountinfo, test.path), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
