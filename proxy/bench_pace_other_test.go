//go:build !linux

package proxy

import "time"

func rest(d time.Duration) { time.Sleep(d) }
