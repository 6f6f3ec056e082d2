//go:build !linux

package master

import "time"

func rest(d time.Duration) { time.Sleep(d) }
