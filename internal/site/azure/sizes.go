package azure

import (
	"fmt"
	"strconv"
	"strings"

	"understudy/internal/dr"
)

// gibPerCPU is the memory of common sizes, in GiB for each processor, by the letter of their series.
var gibPerCPU = map[byte]int{'F': 2, 'D': 4, 'E': 8}

// shape is what the name of a size says: its processors, and the memory that is usual for its series, in MiB.
func shape(size string) (cpus, memoryMiB int) {
	for part := range strings.SplitSeq(size, "_") {
		digits := strings.TrimLeft(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
		n := 0
		for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
			n++
		}
		if cpus, _ = strconv.Atoi(digits[:n]); cpus > 0 && digits != part {
			per := gibPerCPU[part[0]]
			if per == 0 {
				per = gibPerCPU['D']
			}
			return cpus, cpus * per << 10
		}
	}
	return 0, 0
}

// sizeFor is the size of a machine for which none was asked for: the one that it had in Azure, unless it is to have other
// processors or memory now; what the site is set to; else the smallest common one that is large enough.
func (s *Site) sizeFor(m dr.Machine) string {
	had := m.Attributes[attrSize]
	cpus, memory := shape(had)
	// What a machine had elsewhere says nothing where there are a few sizes only.
	if len(s.can.sizes) > 0 && !sameRegion(m.Attributes[attrLocation], s.cfg.Location) {
		had = ""
	}
	switch {
	case had != "" && (m.CPUs == 0 || cpus == 0 || m.CPUs == cpus) && (m.MemoryMiB == 0 || m.MemoryMiB == memory):
		return had
	case had == "" && s.cfg.Size != "":
		return s.cfg.Size
	case len(s.can.sizes) > 0:
		return s.can.sizeFor(m.CPUs, m.MemoryMiB)
	}
	for _, n := range []int{2, 4, 8, 16, 32, 48, 64, 96} {
		for _, series := range []struct{ letter, suffix string }{{"F", "s_v2"}, {"D", "s_v5"}, {"E", "s_v5"}} {
			if n >= m.CPUs && n*gibPerCPU[series.letter[0]]<<10 >= m.MemoryMiB {
				return fmt.Sprintf("Standard_%s%d%s", series.letter, n, series.suffix)
			}
		}
	}
	return "Standard_E96s_v5"
}
