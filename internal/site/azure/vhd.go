package azure

import (
	"encoding/binary"
)

// footerSize is what a fixed VHD has behind its content, in bytes.
const footerSize = 512

// vhdFooter ends a fixed VHD of size bytes, as an upload must: format specification 1.0 of Microsoft.
func vhdFooter(size int64, id string) []byte {
	p := make([]byte, footerSize)
	be := binary.BigEndian
	copy(p, "conectix")
	be.PutUint32(p[8:], 2)           // features: reserved, always set
	be.PutUint32(p[12:], 0x00010000) // version
	be.PutUint64(p[16:], ^uint64(0)) // no dynamic header
	copy(p[28:], "undy")
	be.PutUint32(p[32:], 0x00010000)
	copy(p[36:], "Wi2k")
	be.PutUint64(p[40:], uint64(size))
	be.PutUint64(p[48:], uint64(size))
	cylinders, heads, sectors := geometry(size / pageSize)
	be.PutUint16(p[56:], cylinders)
	p[58], p[59] = heads, sectors
	be.PutUint32(p[60:], 2) // a fixed disk
	copy(p[68:84], id+"understudy-disk.")
	sum := uint32(0)
	for _, b := range p {
		sum += uint32(b)
	}
	be.PutUint32(p[64:], ^sum)
	return p
}

// geometry is the cylinders, heads and sectors of a disk of so many sectors, as the specification computes them.
func geometry(total int64) (cylinders uint16, heads, sectors uint8) {
	total = min(total, 65535*16*255)
	var s, h, ch int64
	if total >= 65535*16*63 {
		s, h = 255, 16
		ch = total / s
	} else {
		s = 17
		ch = total / s
		h = max((ch+1023)/1024, 4)
		if ch >= h*1024 || h > 16 {
			s, h = 31, 16
			ch = total / s
		}
		if ch >= h*1024 {
			s, h = 63, 16
			ch = total / s
		}
	}
	return uint16(ch / h), uint8(h), uint8(s)
}
