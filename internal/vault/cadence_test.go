package vault

import (
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestCadence(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	point := func(sequence uint64, age time.Duration, size int64) dr.RecoveryPoint {
		return dr.RecoveryPoint{Position: dr.Position{Epoch: 1, Sequence: sequence}, Time: at.Add(-age), Bytes: size}
	}
	for name, c := range map[string]struct {
		points []dr.RecoveryPoint
		perDay float64
		size   int64
	}{
		"none":                 {nil, 0, 0},
		"one":                  {[]dr.RecoveryPoint{point(1, 0, 100)}, 0, 0},
		"a base and a day":     {[]dr.RecoveryPoint{point(1, 24*time.Hour, 9999), point(25, 0, 10)}, 24, 10},
		"retention thinned it": {[]dr.RecoveryPoint{point(1, 96*time.Hour, 1), point(100, 30*time.Hour, 1), point(700, time.Hour, 10), point(700+60, 0, 30)}, 528, 20},
		"all at once":          {[]dr.RecoveryPoint{point(1, 0, 1), point(2, 0, 7)}, 1440, 7},
	} {
		if perDay, size := Cadence(c.points); perDay != c.perDay || size != c.size {
			t.Errorf("%s: %.1f a day of %d bytes, want %.1f of %d", name, perDay, size, c.perDay, c.size)
		}
	}
}
