// Package cgroupfs makes, looks into and removes cgroups (v2) of Linux, each named by its directory.
package cgroupfs
