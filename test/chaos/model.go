package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"understudy/internal/dr"
)

// A write is one write of an application, which it was told is done. Each has the one before it as its parent, so that
// a write is at the same time the whole content of a group's disks right after it; histories that fork share their past.
// The nil write is before all writes: disks of zeros.
type write struct {
	seq    uint64 // unique in the world
	parent *write
	at     slot
}

// A slot is a block of a machine's one disk.
type slot struct {
	machine string // in the group
	block   int64
}

func (s slot) String() string { return fmt.Sprintf("%s block %d", s.machine, s.block) }

func (n *write) String() string {
	if n == nil {
		return "nothing"
	}
	return fmt.Sprintf("write %d", n.seq)
}

// content is which write each slot has.
func (n *write) content() map[slot]uint64 {
	c := map[slot]uint64{}
	for ; n != nil; n = n.parent {
		if _, newer := c[n.at]; !newer {
			c[n.at] = n.seq
		}
	}
	return c
}

// holds reports whether everything up to m is in n.
func (n *write) holds(m *write) bool {
	if m == nil {
		return true
	}
	for ; n != nil && n.seq >= m.seq; n = n.parent {
		if n == m {
			return true
		}
	}
	return false
}

// Disks of the fake sites: whole blocks and a short one.
const (
	diskName   = "data"
	diskBlocks = 24
	diskSize   = (diskBlocks-1)*dr.BlockSize + 512
)

func blockLength(block int64) int64 { return min(dr.BlockSize, diskSize-block*dr.BlockSize) }

// block is what a write puts into its slot.
func (n *write) block() []byte {
	b := make([]byte, blockLength(n.at.block))
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], n.seq+uint64(i)<<32)
	}
	return b
}

// decode adds what a disk's slots have to a content.
func decode(machine string, disk []byte, c map[slot]uint64) error {
	if len(disk) != diskSize {
		return fmt.Errorf("the disk of %s has %d bytes, not %d", machine, len(disk), diskSize)
	}
	for k := range int64(diskBlocks) {
		at := slot{machine, k}
		b := disk[k*dr.BlockSize:][:blockLength(k)]
		w := write{seq: binary.BigEndian.Uint64(b), at: at}
		if w.seq == 0 {
			if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
				return fmt.Errorf("%s is neither zero nor written", at)
			}
			continue
		}
		if !slices.Equal(b, w.block()) {
			return fmt.Errorf("%s is torn: it begins like write %d", at, w.seq)
		}
		c[at] = w.seq
	}
	return nil
}

// match finds the moment whose content this is exactly.
func match(nodes map[uint64]*write, c map[slot]uint64) (*write, error) {
	newest := uint64(0)
	for _, seq := range c {
		newest = max(newest, seq)
	}
	n := nodes[newest]
	if newest != 0 && n == nil {
		return nil, fmt.Errorf("write %d was never made", newest)
	}
	return n, n.differs(c)
}

// differs says how a content is not that of n.
func (n *write) differs(c map[slot]uint64) error {
	want := n.content()
	if maps.Equal(want, c) {
		return nil
	}
	var errs []error
	slots := slices.Concat(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(c)))
	slices.SortFunc(slots, func(a, b slot) int { return int(a.block - b.block) })
	for _, s := range slices.Compact(slots) {
		if want[s] != c[s] && len(errs) < 5 {
			errs = append(errs, fmt.Errorf("%s has write %d, at %s it had %d", s, c[s], n, want[s]))
		}
	}
	return errors.Join(errs...)
}
