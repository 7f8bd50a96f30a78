//! What a partition is for, by its type: the Discoverable Partitions Specification of the UAPI group.

use super::guid::Guid;
use crate::guest::architecture::Architecture;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// The root of systems of an architecture.
    Root(Architecture),
    /// /usr of systems of an architecture.
    Usr(Architecture),
    /// Hashes of dm-verity over a root.
    RootVerity(Architecture),
    /// Hashes of dm-verity over a /usr.
    UsrVerity(Architecture),
    /// The signed root hash of a root.
    RootSignature(Architecture),
    /// The signed root hash of a /usr.
    UsrSignature(Architecture),
    /// The EFI system partition.
    Esp,
    /// The extended boot loader partition.
    Boot,
    /// /home.
    Home,
    /// /srv.
    Srv,
    /// /var.
    Var,
    /// /var/tmp.
    Tmp,
    /// Swap space.
    Swap,
    /// Data of Linux; a root where there is no other.
    Linux,
    /// Something else.
    Other,
}

/// The types of one architecture: data, its hashes, the signature of these.
struct OfArchitecture {
    architecture: Architecture,
    root: [Guid; 3],
    usr: [Guid; 3],
}

impl PartitionKind {
    /// What a type of a GPT means.
    pub fn of(kind: Guid) -> Self {
        if let Some((_, kind)) = COMMON.iter().find(|(guid, _)| *guid == kind) {
            return *kind;
        }
        for types in &ARCHITECTURES {
            let architecture = types.architecture;
            let at = |guids: &[Guid; 3]| guids.iter().position(|guid| *guid == kind);
            match (at(&types.root), at(&types.usr)) {
                (Some(0), _) => return Self::Root(architecture),
                (Some(1), _) => return Self::RootVerity(architecture),
                (Some(_), _) => return Self::RootSignature(architecture),
                (_, Some(0)) => return Self::Usr(architecture),
                (_, Some(1)) => return Self::UsrVerity(architecture),
                (_, Some(_)) => return Self::UsrSignature(architecture),
                (None, None) => {}
            }
        }
        Self::Other
    }

    /// What a type of an MBR means (0xEA is the extended boot partition of the Boot Loader Specification).
    pub fn of_mbr(kind: u8) -> Self {
        match kind {
            0x83 => Self::Linux,
            0x82 => Self::Swap,
            0xEA => Self::Boot,
            0xEF => Self::Esp,
            _ => Self::Other,
        }
    }
}

const COMMON: [(Guid, PartitionKind); 8] = [
    (Guid::constant("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), PartitionKind::Esp),
    (Guid::constant("bc13c2ff-59e6-4262-a352-b275fd6f7172"), PartitionKind::Boot),
    (Guid::constant("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), PartitionKind::Home),
    (Guid::constant("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"), PartitionKind::Srv),
    (Guid::constant("4d21b016-b534-45c2-a9fb-5c16e091fd2d"), PartitionKind::Var),
    (Guid::constant("7ec6f557-3bc5-4aca-b293-16ef5df639d1"), PartitionKind::Tmp),
    (Guid::constant("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), PartitionKind::Swap),
    (Guid::constant("0fc63daf-8483-4772-8e79-3d69d8477de4"), PartitionKind::Linux),
];

const fn types(architecture: Architecture, root: [&str; 3], usr: [&str; 3]) -> OfArchitecture {
    OfArchitecture {
        architecture,
        root: [Guid::constant(root[0]), Guid::constant(root[1]), Guid::constant(root[2])],
        usr: [Guid::constant(usr[0]), Guid::constant(usr[1]), Guid::constant(usr[2])],
    }
}

/// Those of the specification that [`Architecture`] knows.
const ARCHITECTURES: [OfArchitecture; 10] = [
    types(
        Architecture::X86_64,
        [
            "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
            "41092b05-9fc8-4523-994f-2def0408b176",
        ],
        [
            "8484680c-9521-48c6-9c11-b0720656f69e",
            "77ff5f63-e7b6-4633-acf4-1565b864c0e6",
            "e7bb33fb-06cf-4e81-8273-e543b413e2e2",
        ],
    ),
    types(
        Architecture::X86,
        [
            "44479540-f297-41b2-9af7-d131d5f0458a",
            "d13c5d3b-b5d1-422a-b29f-9454fdc89d76",
            "5996fc05-109c-48de-808b-23fa0830b676",
        ],
        [
            "75250d76-8cc6-458e-bd66-bd47cc81a812",
            "8f461b0d-14ee-4e81-9aa9-049b6fb97abd",
            "974a71c0-de41-43c3-be5d-5c5ccd1ad2c0",
        ],
    ),
    types(
        Architecture::Aarch64,
        [
            "b921b045-1df0-41c3-af44-4c6f280d3fae",
            "df3300ce-d69f-4c92-978c-9bfb0f38d820",
            "6db69de6-29f4-4758-a7a5-962190f00ce3",
        ],
        [
            "b0e01050-ee5f-4390-949a-9101b17104e9",
            "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e",
            "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a",
        ],
    ),
    types(
        Architecture::Arm,
        [
            "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
            "7386cdf2-203c-47a9-a498-f2ecce45a2d6",
            "42b0455f-eb11-491d-98d3-56145ba9d037",
        ],
        [
            "7d0359a3-02b3-4f0a-865c-654403e70625",
            "c215d751-7bcd-4649-be90-6627490a4c05",
            "d7ff812f-37d1-4902-a810-d76ba57b975a",
        ],
    ),
    types(
        Architecture::Riscv64,
        [
            "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
            "b6ed5582-440b-4209-b8da-5ff7c419ea3d",
            "efe0f087-ea8d-4469-821a-4c2a96a8386a",
        ],
        [
            "beaec34b-8442-439b-a40b-984381ed097d",
            "8f1056be-9b05-47c4-81d6-be53128e5b54",
            "d2f9000a-7a18-453f-b5cd-4d32f77a7b32",
        ],
    ),
    types(
        Architecture::Ppc64le,
        [
            "c31c45e6-3f39-412e-80fb-4809c4980599",
            "906bd944-4589-4aae-a4e4-dd983917446a",
            "d4a236e7-e873-4c07-bf1d-bf6cf7f1c3c6",
        ],
        [
            "15bb03af-77e7-4d4a-b12b-c0d084f7491c",
            "ee2b9983-21e8-4153-86d9-b6901a54d1ce",
            "c8bfbd1e-268e-4521-8bba-bf314c399557",
        ],
    ),
    types(
        Architecture::Ppc64,
        [
            "912ade1d-a839-4913-8964-a10eee08fbd2",
            "9225a9a3-3c19-4d89-b4f6-eeff88f17631",
            "f5e2c20c-45b2-4ffa-bce9-2a60737e1aaf",
        ],
        [
            "2c9739e2-f068-46b3-9fd0-01c5a9afbcca",
            "bdb528a5-a259-475f-a87d-da53fa736a07",
            "0b888863-d7f8-4d9e-9766-239fce4d58af",
        ],
    ),
    types(
        Architecture::S390x,
        [
            "5eead9a9-fe09-4a1e-a1d7-520d00531306",
            "b325bfbe-c7be-4ab8-8357-139e652d2f6b",
            "c80187a5-73a3-491a-901a-017c3fa953e9",
        ],
        [
            "8a4f5770-50aa-4ed3-874a-99b710db6fea",
            "31741cc4-1a2a-4111-a581-e00b447d2d06",
            "3f324816-667b-46ae-86ee-9b0c0c6c11b4",
        ],
    ),
    types(
        Architecture::Loongarch64,
        [
            "77055800-792c-4f94-b39a-98c91b762bb6",
            "f3393b22-e9af-4613-a948-9d3bfbd0c535",
            "5afb67eb-ecc8-4f85-ae8e-ac1e7c50e7d0",
        ],
        [
            "e611c702-575c-4cbe-9a46-434fa0bf7e3f",
            "f46b2c26-59ae-48f0-9106-c50ed47f673d",
            "b024f315-d330-444c-8461-44bbde524e99",
        ],
    ),
    types(
        Architecture::Mips64el,
        [
            "700bda43-7a34-4507-b179-eeb93d7a7ca3",
            "16b417f8-3e06-4f57-8dd2-9b5232f41aa6",
            "904e58ef-5c65-4a31-9c57-6af5fc7c5de7",
        ],
        [
            "c97c1f32-ba06-40b4-9f22-236061b08aa8",
            "3c3d61fe-b5f3-414d-bb71-8739a694a4ef",
            "f2c2c7ee-adcc-4351-b5c6-ee9816b66e16",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_specification() {
        let rows = [
            ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", PartitionKind::Root(Architecture::X86_64)),
            ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", PartitionKind::UsrVerity(Architecture::X86_64)),
            ("6db69de6-29f4-4758-a7a5-962190f00ce3", PartitionKind::RootSignature(Architecture::Aarch64)),
            ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", PartitionKind::Root(Architecture::Riscv64)),
            ("b0e01050-ee5f-4390-949a-9101b17104e9", PartitionKind::Usr(Architecture::Aarch64)),
            ("0fc63daf-8483-4772-8e79-3d69d8477de4", PartitionKind::Linux),
            ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", PartitionKind::Other),
            ("00000000-0000-0000-0000-000000000000", PartitionKind::Other),
        ];
        for (text, kind) in rows {
            assert_eq!(PartitionKind::of(Guid::constant(text)), kind, "{text}");
        }
        let mut all: Vec<Guid> =
            ARCHITECTURES.iter().flat_map(|types| types.root.into_iter().chain(types.usr)).collect();
        all.extend(COMMON.iter().map(|(guid, _)| *guid));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), count), (68, 68));
    }
}
