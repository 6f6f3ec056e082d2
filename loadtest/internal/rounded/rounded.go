// Package rounded has numbers as reports show them.
package rounded

import "time"

// Tenth keeps one decimal.
func Tenth(x float64) float64 { return float64(int64(x*10+0.5)) / 10 }

// Seconds keeps milliseconds.
func Seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond)) / float64(time.Second)
}
