package history

import (
	"encoding/binary"
	"fmt"
	"time"
)

// codecVersion begins every encoded list of samples.
const codecVersion = 1

// encode writes samples as differences from base, in milliseconds and bytes. A sample takes about ten bytes, and twenty
// when much changed.
func encode(base time.Time, samples []Sample) []byte {
	b := []byte{codecVersion}
	last := base.UnixMilli()
	for _, s := range samples {
		at := s.Time.UnixMilli()
		b = binary.AppendVarint(b, at-last)
		last = at
		for _, v := range []int64{s.Lag.Milliseconds(), s.Changed, s.Stored, s.Read, s.Took.Milliseconds(), int64(s.Cycles), int64(s.Failures)} {
			b = binary.AppendUvarint(b, uint64(max(v, 0)))
		}
	}
	return b
}

// decode calls fn for each sample that encode wrote.
func decode(base time.Time, b []byte, fn func(Sample)) error {
	if len(b) == 0 || b[0] != codecVersion {
		return fmt.Errorf("samples of %s are of an unknown version", base.Format(time.RFC3339))
	}
	b = b[1:]
	last := base.UnixMilli()
	for len(b) > 0 {
		step, n := binary.Varint(b)
		var fields [7]int64
		for i := range fields {
			if n <= 0 {
				break
			}
			b = b[n:]
			var v uint64
			v, n = binary.Uvarint(b)
			fields[i] = int64(v)
		}
		if n <= 0 {
			return fmt.Errorf("samples of %s are damaged", base.Format(time.RFC3339))
		}
		b = b[n:]
		last += step
		fn(Sample{Time: time.UnixMilli(last).UTC(), Lag: time.Duration(fields[0]) * time.Millisecond, Changed: fields[1], Stored: fields[2], Read: fields[3],
			Took: time.Duration(fields[4]) * time.Millisecond, Cycles: int(fields[5]), Failures: int(fields[6])})
	}
	return nil
}
