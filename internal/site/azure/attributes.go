package azure

// Attributes of machines, disks and network interfaces that only Azure understands.
const (
	attrID           = "azure.id"
	attrSize         = "azure.size"
	attrZone         = "azure.zone"
	attrAvailability = "azure.availability-set"
	attrIdentity     = "azure.identity" // SystemAssigned, or IDs of identities with commas between
	attrOS           = "azure.os"       // linux or windows
	attrGeneration   = "azure.generation"
	attrSecurity     = "azure.security-type"
	attrLicense      = "azure.license"
	attrGroup        = "azure.resource-group"
	attrLocation     = "azure.location"

	attrSKU     = "azure.sku"
	attrLun     = "azure.lun"
	attrCaching = "azure.caching"
	attrOSDisk  = "azure.os-disk" // true for the disk that the machine starts from

	attrSubnet      = "azure.subnet"
	attrPrivateIP   = "azure.private-ip"
	attrAllocation  = "azure.allocation" // Static or Dynamic
	attrPublicIP    = "azure.public-ip"
	attrNSG         = "azure.nsg"
	attrPrimary     = "azure.primary"
	attrAccelerated = "azure.accelerated"
)

// settable are the attributes of a machine that can be asked for by name.
var settable = []string{attrSize, attrZone, attrAvailability, attrIdentity, attrSecurity, attrLicense}
