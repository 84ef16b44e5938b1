package preflight

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"understudy/internal/preflight/ext4"
)

// A volume is a partition, or a disk without partitions.
type volume struct {
	at   string // for people
	kind string // of its content; empty when it is not known
	esp  bool   // is an EFI system partition
	fs   *ext4.FS
}

const (
	sector   = 512
	maxParts = 128
)

// scan finds the volumes of a disk.
func scan(d Disk) ([]volume, error) {
	head := make([]byte, 2*sector)
	if d.Size < int64(len(head)) {
		return nil, nil
	}
	if _, err := d.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if string(head[sector:sector+8]) == "EFI PART" {
		return scanGPT(d, head[sector:])
	}
	if head[510] == 0x55 && head[511] == 0xaa {
		list, err := scanMBR(d, head)
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	v, err := look(d, 0, d.Size, "disk "+d.Name)
	return []volume{v}, err
}

// espType is the GPT type of an EFI system partition, as it is stored.
var espType = []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

func scanGPT(d Disk, header []byte) (out []volume, err error) {
	at := int64(binary.LittleEndian.Uint64(header[72:])) * sector
	count, size := binary.LittleEndian.Uint32(header[80:]), int64(binary.LittleEndian.Uint32(header[84:]))
	if size < 128 || size > 4096 || at < 0 || at > d.Size-size*maxParts {
		return nil, errors.New("its partition table makes no sense")
	}
	table := make([]byte, size*maxParts)
	if _, err := d.ReadAt(table, at); err != nil {
		return nil, err
	}
	for i := range int64(min(count, maxParts)) {
		e := table[i*size : (i+1)*size]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, last := int64(binary.LittleEndian.Uint64(e[32:])), int64(binary.LittleEndian.Uint64(e[40:]))
		if first < 0 || last < first || last >= d.Size/sector {
			continue
		}
		v, err := look(d, first*sector, (last-first+1)*sector, fmt.Sprintf("disk %s partition %d", d.Name, i+1))
		if err != nil {
			return nil, err
		}
		v.esp = bytes.Equal(e[:16], espType)
		out = append(out, v)
	}
	return out, nil
}

// scanMBR reads a table of four, and the chain of an extended partition: its tables count from the first one's begin.
func scanMBR(d Disk, table []byte) (out []volume, err error) {
	for i := range 4 {
		e := table[446+16*i:]
		kind, first, count := e[4], int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		if kind == 0 || count == 0 || first+count > d.Size/sector {
			continue
		}
		v, err := look(d, first*sector, count*sector, fmt.Sprintf("disk %s partition %d", d.Name, i+1))
		if err != nil {
			return nil, err
		}
		v.esp = kind == 0xef
		if kind != 0x05 && kind != 0x0f && kind != 0x85 {
			out = append(out, v)
			continue
		}
		next := first
		for n := 5; n < maxParts; n++ {
			link := make([]byte, sector)
			if _, err := d.ReadAt(link, next*sector); err != nil {
				return nil, err
			}
			start, count := int64(binary.LittleEndian.Uint32(link[446+8:])), int64(binary.LittleEndian.Uint32(link[446+12:]))
			if count > 0 && next+start+count <= d.Size/sector {
				v, err := look(d, (next+start)*sector, count*sector, fmt.Sprintf("disk %s partition %d", d.Name, n))
				if err != nil {
					return nil, err
				}
				out = append(out, v)
			}
			further := int64(binary.LittleEndian.Uint32(link[462+8:]))
			if further == 0 || first+further >= d.Size/sector {
				break
			}
			next = first + further
		}
	}
	return out, nil
}

// look says what a volume holds.
func look(d Disk, off, size int64, at string) (volume, error) {
	v := volume{at: at}
	head := make([]byte, min(size, 0x10048))
	if _, err := d.ReadAt(head, off); err != nil && !errors.Is(err, io.EOF) {
		return v, err
	}
	has := func(at int, text string) bool {
		return len(head) >= at+len(text) && string(head[at:at+len(text)]) == text
	}
	switch {
	case has(1024+0x38, "\x53\xef"):
		fs, err := ext4.Open(io.NewSectionReader(d, off, size), size)
		if v.kind, v.fs = "ext4", fs; err != nil {
			v.kind, v.fs = fmt.Sprintf("ext4 that cannot be read (%v)", err), nil
		}
	case has(sector, "LABELONE"):
		v.kind = "LVM"
	case has(0, "LUKS\xba\xbe"):
		v.kind = "LUKS"
	case has(0, "XFSB"):
		v.kind = "XFS"
	case has(0x10040, "_BHRfS_M"):
		v.kind = "btrfs"
	case has(3, "NTFS    "):
		v.kind = "NTFS"
	case has(3, "-FVE-FS-"):
		v.kind = "BitLocker"
	case has(4096-10, "SWAPSPACE2"):
		v.kind = "swap"
	case has(82, "FAT32") || has(54, "FAT1"):
		v.kind = "FAT"
	case has(0, "hsqs"):
		v.kind = "squashfs"
	}
	return v, nil
}

// bootCode reports whether a disk has a program in its first sector.
func bootCode(d Disk) bool {
	head := make([]byte, sector)
	if d.Size < sector {
		return false
	}
	if _, err := d.ReadAt(head, 0); err != nil {
		return false
	}
	return head[510] == 0x55 && head[511] == 0xaa && len(bytes.Trim(head[:440], "\x00")) > 0
}
