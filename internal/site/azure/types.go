package azure

import "strings"

// What is read of resources. What is written is made where it is written.

type ref struct {
	ID string `json:"id"`
}

type status struct {
	Code          string `json:"code"`
	Level         string `json:"level"`
	DisplayStatus string `json:"displayStatus"`
	Message       string `json:"message"`
}

type identity struct {
	Type                   string         `json:"type"`
	UserAssignedIdentities map[string]any `json:"userAssignedIdentities,omitempty"`
}

type vmDisk struct {
	Name         string `json:"name"`
	OSType       string `json:"osType,omitempty"`
	Lun          int    `json:"lun"`
	Caching      string `json:"caching"`
	CreateOption string `json:"createOption"`
	ManagedDisk  ref    `json:"managedDisk"`
}

type vm struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Location   string            `json:"location"`
	Zones      []string          `json:"zones"`
	Tags       map[string]string `json:"tags"`
	Identity   identity          `json:"identity"`
	Properties struct {
		VMID            string `json:"vmId"`
		HardwareProfile struct {
			VMSize string `json:"vmSize"`
		} `json:"hardwareProfile"`
		StorageProfile struct {
			OSDisk    vmDisk   `json:"osDisk"`
			DataDisks []vmDisk `json:"dataDisks"`
		} `json:"storageProfile"`
		NetworkProfile struct {
			NetworkInterfaces []ref `json:"networkInterfaces"`
		} `json:"networkProfile"`
		AvailabilitySet ref `json:"availabilitySet"`
		SecurityProfile struct {
			SecurityType string `json:"securityType"`
		} `json:"securityProfile"`
		LicenseType        string `json:"licenseType"`
		DiagnosticsProfile struct {
			BootDiagnostics struct {
				Enabled bool `json:"enabled"`
			} `json:"bootDiagnostics"`
		} `json:"diagnosticsProfile"`
		InstanceView instanceView `json:"instanceView"`
	} `json:"properties"`
	Resources []vmExtension `json:"resources"`
}

type instanceView struct {
	Statuses []status `json:"statuses"`
	VMAgent  struct {
		Statuses          []status `json:"statuses"`
		ExtensionHandlers []struct {
			Type               string `json:"type"`
			TypeHandlerVersion string `json:"typeHandlerVersion"`
			Status             status `json:"status"`
		} `json:"extensionHandlers"`
	} `json:"vmAgent"`
	Extensions []struct {
		Name     string   `json:"name"`
		Statuses []status `json:"statuses"`
	} `json:"extensions"`
}

// power is the power state: running, stopped, deallocated, starting, ...; empty when it is not told.
func (v instanceView) power() string {
	for _, s := range v.Statuses {
		if p, ok := strings.CutPrefix(s.Code, "PowerState/"); ok {
			return p
		}
	}
	return ""
}

type vmExtension struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Publisher               string         `json:"publisher"`
		Type                    string         `json:"type"`
		TypeHandlerVersion      string         `json:"typeHandlerVersion"`
		AutoUpgradeMinorVersion *bool          `json:"autoUpgradeMinorVersion"`
		EnableAutomaticUpgrade  *bool          `json:"enableAutomaticUpgrade"`
		Settings                map[string]any `json:"settings"`
		ProvisioningState       string         `json:"provisioningState"`
	} `json:"properties"`
}

type disk struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Location  string            `json:"location"`
	Zones     []string          `json:"zones"`
	Tags      map[string]string `json:"tags"`
	ManagedBy string            `json:"managedBy"`
	SKU       struct {
		Name string `json:"name"`
	} `json:"sku"`
	Properties struct {
		OSType            string  `json:"osType"`
		HyperVGeneration  string  `json:"hyperVGeneration"`
		DiskSizeGB        int64   `json:"diskSizeGB"`
		DiskSizeBytes     int64   `json:"diskSizeBytes"`
		DiskState         string  `json:"diskState"`
		CompletionPercent float64 `json:"completionPercent"` // of a snapshot
		TimeCreated       string  `json:"timeCreated"`
		Incremental       bool    `json:"incremental"`
	} `json:"properties"`
}

// size is the disk's size in bytes: of one that we made, what was asked for.
func (d disk) size() int64 {
	if n := parseInt(d.Tags[tagSize]); n > 0 {
		return n
	}
	if d.Properties.DiskSizeBytes > 0 {
		return d.Properties.DiskSizeBytes
	}
	return d.Properties.DiskSizeGB << 30
}

type nic struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Tags       map[string]string `json:"tags"`
	Properties struct {
		MacAddress       string `json:"macAddress"`
		Primary          bool   `json:"primary"`
		VirtualMachine   ref    `json:"virtualMachine"`
		NSG              ref    `json:"networkSecurityGroup"`
		Accelerated      bool   `json:"enableAcceleratedNetworking"`
		IPConfigurations []struct {
			Name       string `json:"name"`
			Properties struct {
				PrivateIPAddress          string `json:"privateIPAddress"`
				PrivateIPAllocationMethod string `json:"privateIPAllocationMethod"`
				Subnet                    ref    `json:"subnet"`
				PublicIPAddress           ref    `json:"publicIPAddress"`
			} `json:"properties"`
		} `json:"ipConfigurations"`
	} `json:"properties"`
}

// Tags that mark what Understudy made.
const (
	tagOwner    = "understudy-owner"
	tagSite     = "understudy-site"
	tagMachine  = "understudy-machine"
	tagDisk     = "understudy-disk"
	tagGroup    = "understudy-group"
	tagCapture  = "understudy-capture"
	tagSize     = "understudy-size"
	tagHeld     = "understudy-held"
	tagIsolated = "understudy-isolation"
)
