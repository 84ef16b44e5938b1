package nbd

import "understudy/internal/dr"

const (
	// minHole is the shortest run of zeros that is sent as a hole within a read: below, a chunk costs more than it saves.
	minHole = 64 << 10
	// statusWindow is the range that a device's extents are asked for at a time.
	statusWindow = 64 << 20
	// maxDescriptors bounds one block status reply; clients ask on from where it ends.
	maxDescriptors = 8192
)

// pieces divides a range, without gaps: runs of zeros of at least minZero bytes, or zeros all over, and data of at most
// limit bytes each.
func (e *export) pieces(off, n, minZero, limit int64) []dr.Extent {
	var out []dr.Extent
	end := off + n
	for _, x := range e.extents(off, n) {
		from, to := max(x.Offset, off), min(x.End(), end)
		if from >= to {
			continue
		}
		// A device that leaves something out has data there.
		out = appendPiece(out, off, from, false, limit)
		out = appendPiece(out, from, to, x.Zero && (to-from >= minZero || to-from == n), limit)
		off = to
	}
	return appendPiece(out, off, end, false, limit)
}

func appendPiece(out []dr.Extent, from, to int64, zero bool, limit int64) []dr.Extent {
	if last := len(out) - 1; from < to && last >= 0 && out[last].Zero == zero {
		l := to - from
		if !zero {
			l = min(l, limit-out[last].Length)
		}
		out[last].Length += l
		from += l
	}
	for from < to {
		l := to - from
		if !zero {
			l = min(l, limit)
		}
		out = append(out, dr.Extent{Offset: from, Length: l, Zero: zero})
		from += l
	}
	return out
}

// read answers a read, in pieces if the client takes them.
func (c *serverConn) read(h requestHeader) *requestError {
	off, n := int64(h.off), int64(h.length)
	e := c.export
	if !c.structured {
		buf := c.s.buffer(int(n))
		defer buf.free()
		if err := e.readFull(buf.b, off); err != nil {
			return c.failed(h, err, off)
		}
		c.reply(c.header(h, 0, 0, 0), buf.b)
		return nil
	}
	var pieces []dr.Extent
	if h.flags&cmdFlagDF == 0 {
		pieces = e.pieces(off, n, minHole, chunkLen)
	} else if pieces = e.pieces(off, n, minHole, n); len(pieces) > 1 {
		pieces = []dr.Extent{{Offset: off, Length: n}}
	}
	longest := int64(0)
	for _, p := range pieces {
		if !p.Zero {
			longest = max(longest, p.Length)
		}
	}
	var buf *buffer
	if longest > 0 {
		buf = c.s.buffer(int(longest))
		defer buf.free()
	}
	for i, p := range pieces {
		flags := uint16(0)
		if i == len(pieces)-1 {
			flags = chunkFlagDone
		}
		var ok bool
		if p.Zero {
			b := be.AppendUint64(c.header(h, chunkOffsetHole, flags, 12), uint64(p.Offset))
			ok = c.reply(be.AppendUint32(b, uint32(p.Length)), nil)
		} else {
			data := buf.b[:p.Length]
			if err := e.readFull(data, p.Offset); err != nil {
				return c.failed(h, err, p.Offset)
			}
			b := be.AppendUint64(c.header(h, chunkOffsetData, flags, 8+len(data)), uint64(p.Offset))
			ok = c.reply(b, data)
		}
		if !ok {
			return nil // nobody to tell
		}
	}
	return nil
}

// blockStatus answers with base:allocation as far as it goes in one reply.
func (c *serverConn) blockStatus(h requestHeader) *requestError {
	off, end := int64(h.off), int64(h.off)+int64(h.length)
	most := maxDescriptors
	if h.flags&cmdFlagReqOne != 0 {
		most = 1
	}
	var runs []dr.Extent
	for off < end && len(runs) <= most {
		n := min(end-off, statusWindow)
		for _, p := range c.export.pieces(off, n, 1, n) {
			if last := len(runs) - 1; last >= 0 && runs[last].Zero == p.Zero {
				runs[last].Length += p.Length
			} else {
				runs = append(runs, p)
			}
		}
		off += n
	}
	runs = runs[:min(len(runs), most)]
	b := be.AppendUint32(c.header(h, chunkBlockStatus, chunkFlagDone, 4+8*len(runs)), allocationID)
	for _, r := range runs {
		b = be.AppendUint32(b, uint32(r.Length))
		state := uint32(0)
		if r.Zero {
			state = StateHole | StateZero
		}
		b = be.AppendUint32(b, state)
	}
	c.reply(b, nil)
	return nil
}

// cache reads a range so that the device has it at hand. It is advice: only the beginning of a long range is read.
func (c *serverConn) cache(off, n int64) error {
	pieces := c.export.pieces(off, min(n, maxPayload), minHole, chunkLen)
	buf := c.s.buffer(int(min(n, chunkLen)))
	defer buf.free()
	for _, p := range pieces {
		if p.Zero {
			continue
		}
		if err := c.export.readFull(buf.b[:p.Length], p.Offset); err != nil {
			return err
		}
	}
	return nil
}

// writeZeros writes zeros out, for a client that wants their space reserved.
func (c *serverConn) writeZeros(w Writable, off, n int64) error {
	buf := c.s.buffer(int(min(n, chunkLen)))
	defer buf.free()
	clear(buf.b)
	for n > 0 {
		l := min(n, int64(len(buf.b)))
		if _, err := w.WriteAt(buf.b[:l], off); err != nil {
			return err
		}
		off, n = off+l, n-l
	}
	return nil
}
