package imagefile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"understudy/internal/dr"
)

// The format is Microsoft's Virtual Hard Disk Image Format Specification, 1.0.
const (
	vhdBlock  = 2 << 20
	vhdBitmap = vhdBlock / Sector / 8 // bytes that say which sectors of a block are there
	vhdHeader = 1024
	vhdMost   = 2040 << 30 // bytes of the largest disk
)

// vhd lays out: a copy of the footer, header, table of blocks, blocks, each behind its bitmap, footer.
func (f *File) vhd(src Source, name string) error {
	size := roundUp(src.Size(), Sector)
	if size > vhdMost {
		return dr.WithHint(fmt.Errorf("a disk of %d bytes is too large for a VHD", size), dr.KindInvalid, "take it as qcow2 or raw")
	}
	list, data := allocate(src, vhdBlock)
	entries := (size + vhdBlock - 1) / vhdBlock
	table := roundUp(max(1, entries)*4, Sector)
	atData := Sector + vhdHeader + table

	footer := vhdFooter(size, name, Sector)
	f.bytes(footer)
	h := make([]byte, vhdHeader)
	be := binary.BigEndian
	copy(h, "cxsparse")
	be.PutUint64(h[8:], ^uint64(0))
	be.PutUint64(h[16:], Sector+vhdHeader) // where the table is
	be.PutUint32(h[24:], 0x10000)          // version 1.0
	be.PutUint32(h[28:], uint32(entries))
	be.PutUint32(h[32:], vhdBlock)
	be.PutUint32(h[36:], vhdSum(h))
	f.bytes(h)
	f.words(table, 4, func(i int64) uint64 {
		if n, ok := list.index(i); ok {
			return uint64(atData+n*(vhdBitmap+vhdBlock)) / Sector
		}
		return 0xffffffff
	})
	f.add(data*(vhdBitmap+vhdBlock), func(p []byte, at int64) error {
		for len(p) > 0 {
			unit, _ := list.at(at / (vhdBitmap + vhdBlock))
			inside := at % (vhdBitmap + vhdBlock)
			if inside < vhdBitmap {
				n := min(int64(len(p)), vhdBitmap-inside)
				for i := range p[:n] {
					p[i] = 0xff
				}
				p, at = p[n:], at+n
				continue
			}
			part := p[:min(int64(len(p)), vhdBitmap+vhdBlock-inside)]
			if err := readFull(src, part, unit*vhdBlock+inside-vhdBitmap); err != nil {
				return err
			}
			p, at = p[len(part):], at+int64(len(part))
		}
		return nil
	})
	f.bytes(footer)
	return nil
}

// FixedVHDFooter is the sector that ends a fixed VHD: behind size bytes of content, which are whole sectors. Disks of
// different names are different to programs that know them by it.
func FixedVHDFooter(size int64, name string) []byte { return vhdFooter(size, name, 0) }

// vhdFooter describes a disk of size bytes whose header is at an offset; a fixed one has none, and 0. It says nothing of when
// and where it was made, so that the file is the same whenever it is laid out.
func vhdFooter(size int64, name string, header uint64) []byte {
	kind := uint32(3) // dynamic
	if header == 0 {
		header, kind = ^uint64(0), 2 // fixed
	}
	b := make([]byte, Sector)
	be := binary.BigEndian
	copy(b, "conectix")
	be.PutUint32(b[8:], 2)        // features: the reserved bit is always set
	be.PutUint32(b[12:], 0x10000) // version 1.0
	be.PutUint64(b[16:], header)
	// Readers take the size of disks by this creator from the size, and not from the geometry, which rounds it.
	copy(b[28:], "qem2")
	be.PutUint32(b[32:], 0x50003)
	copy(b[36:], "Wi2k")
	be.PutUint64(b[40:], uint64(size))
	be.PutUint64(b[48:], uint64(size))
	cylinders, heads, sectors := vhdGeometry(size / Sector)
	be.PutUint16(b[56:], uint16(cylinders))
	b[58], b[59] = byte(heads), byte(sectors)
	be.PutUint32(b[60:], kind)
	// Some programs know disks by this, and refuse a second one with it.
	id := sha256.Sum256([]byte(name))
	copy(b[68:84], id[:])
	be.PutUint32(b[64:], vhdSum(b))
	return b
}

// vhdSum is the complement of the sum of all bytes, taken while the sum's own place is zero.
func vhdSum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// vhdGeometry is the algorithm of the specification's appendix.
func vhdGeometry(total int64) (cylinders, heads, sectors int64) {
	total = min(total, 65535*16*255)
	if total >= 65535*16*63 {
		return total / 255 / 16, 16, 255
	}
	sectors = 17
	tracks := total / sectors
	heads = max(4, (tracks+1023)/1024)
	if tracks >= heads*1024 || heads > 16 {
		sectors, heads = 31, 16
		tracks = total / sectors
	}
	if tracks >= heads*1024 {
		sectors, heads = 63, 16
		tracks = total / sectors
	}
	return tracks / heads, heads, sectors
}
