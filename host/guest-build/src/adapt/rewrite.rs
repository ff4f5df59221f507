//! Takes imported interfaces out of a component and puts answers in their place.
//!
//! What a strategy's core modules import from WASI passes through `canon lower`. Each such function becomes
//! an alias of a core function in a module of [`answers`], so that all other core functions keep their
//! numbers. What the imports brought besides is replaced one for one as well: an instance by an empty one,
//! a type by one of its sort that nothing uses. Only the numbers of component functions, core modules and
//! core instances change, and are translated.
//!
//! The usual way, to compose the component with another one that exports WASI, is not open: calls between
//! components go through two memories, and an engine that runs strategies has no business with more than one.

use std::collections::BTreeMap;

use wasm_encoder::reencode::{self, Reencode, ReencodeComponent};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentImportSection,
    ComponentInstanceSection, ComponentSectionId, ComponentTypeSection, ExportKind, InstanceSection,
    ModuleArg, PrimitiveValType, RawSection, ValType,
};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentImport,
    ComponentOuterAliasKind, ComponentTypeRef, Parser, Payload, Validator,
};
use wit_component::DecodedWasm;
use wit_parser::{InterfaceId, Resolve, SizeAlign, Type, TypeDefKind, WorldItem};

use super::answers::{self, Access, Asked};

/// Answers every import for which `answered` says so.
pub(super) fn without(component: &[u8], answered: fn(&str) -> bool) -> Result<Vec<u8>, String> {
    let text = |why: &dyn std::fmt::Display| format!("{why:#}");
    let (resolve, world) = match wit_component::decode(component).map_err(|why| text(&why))? {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => return Err("it is a WIT package, not a component".to_owned()),
    };
    let mut sizes = SizeAlign::default();
    sizes.fill(&resolve).map_err(|why| text(&why))?;
    let mut interfaces = BTreeMap::new();
    for (key, item) in &resolve.worlds[world].imports {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } if answered(&name) => {
                interfaces.insert(name, *id);
            }
            WorldItem::Interface { .. } | WorldItem::Function(_) | WorldItem::Type { .. } => {}
        }
    }
    let mut rewriter = Rewriter::new(Wit { resolve: &resolve, sizes: &sizes, interfaces: &interfaces });
    let mut rewritten = Component::new();
    rewriter.parse_component(&mut rewritten, Parser::new(0), component).map_err(|why| match why {
        reencode::Error::UserError(Unusual(why)) => why,
        other => other.to_string(),
    })?;
    let rewritten = rewritten.finish();
    let unusual = |why| format!("it uses what is answered in an unusual way: {why}");
    Validator::new().validate_all(&rewritten).map_err(unusual)?;
    Ok(rewritten)
}

/// Something in the component that is not known here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unusual(String);

type Rewritten<T> = Result<T, reencode::Error<Unusual>>;

fn unusual<T>(why: impl Into<String>) -> Rewritten<T> {
    Err(reencode::Error::UserError(Unusual(why.into())))
}

/// What the component says about its imports.
#[derive(Clone, Copy)]
struct Wit<'a> {
    resolve: &'a Resolve,
    sizes: &'a SizeAlign,
    /// Those that are answered, by name.
    interfaces: &'a BTreeMap<String, InterfaceId>,
}

impl Wit<'_> {
    fn is_resource(&self, interface: InterfaceId, name: &str) -> bool {
        let mut ty = self.resolve.interfaces[interface].types.get(name).copied();
        while let Some(id) = ty {
            match self.resolve.types[id].kind {
                TypeDefKind::Resource => return true,
                TypeDefKind::Type(Type::Id(aliased)) => ty = Some(aliased),
                _ => return false,
            }
        }
        false
    }
}

/// A function of the component.
#[derive(Clone, Debug)]
enum Func {
    /// Its new number.
    Kept(u32),
    /// It is gone; its answer has this name.
    Answered(String),
}

/// The memory and the allocator that a lowered function was given.
type Options = (Option<u32>, Option<u32>);

/// Reads a component and writes another one; vectors are indexed by numbers in the one that is read.
struct Rewriter<'a> {
    wit: Wit<'a>,
    /// The interface, for those that are answered.
    instances: Vec<Option<InterfaceId>>,
    funcs: Vec<Func>,
    /// Whether it is a resource of an answered interface.
    types: Vec<bool>,
    modules: Vec<u32>,
    core_instances: Vec<u32>,
    /// How many there are in the one that is written.
    func_count: u32,
    module_count: u32,
    core_instance_count: u32,
    /// Core instances of answers, by what they were given.
    answers: BTreeMap<Options, u32>,
}

impl<'a> Rewriter<'a> {
    fn new(wit: Wit<'a>) -> Self {
        Self {
            wit,
            instances: Vec::new(),
            funcs: Vec::new(),
            types: Vec::new(),
            modules: Vec::new(),
            core_instances: Vec::new(),
            func_count: 0,
            module_count: 0,
            core_instance_count: 0,
            answers: BTreeMap::new(),
        }
    }

    /// Something outside of cores was defined, and is kept.
    fn defined(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Func => {
                self.funcs.push(Func::Kept(self.func_count));
                self.func_count += 1;
            }
            ComponentExternalKind::Instance => self.instances.push(None),
            ComponentExternalKind::Module => {
                self.modules.push(self.module_count);
                self.module_count += 1;
            }
            ComponentExternalKind::Type => self.types.push(false),
            ComponentExternalKind::Component | ComponentExternalKind::Value => {}
        }
    }

    fn import(&mut self, out: &mut Component, import: ComponentImport<'_>) -> Rewritten<()> {
        if let (ComponentTypeRef::Instance(_), Some(interface)) =
            (import.ty, self.wit.interfaces.get(import.name.name))
        {
            let mut instances = ComponentInstanceSection::new();
            instances.export_items::<&str, _>([]);
            out.section(&instances);
            self.instances.push(Some(*interface));
            return Ok(());
        }
        let mut imports = ComponentImportSection::new();
        imports.import(import.name, self.component_type_ref(import.ty)?);
        out.section(&imports);
        self.defined(import.ty.kind());
        Ok(())
    }

    fn alias(&mut self, out: &mut Component, alias: ComponentAlias<'_>) -> Rewritten<()> {
        if let ComponentAlias::InstanceExport { kind, instance_index, name } = alias
            && let Some(Some(interface)) = index(&self.instances, instance_index)
        {
            return self.alias_of_answered(out, kind, *interface, name);
        }
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(self.component_alias(alias.clone())?);
        out.section(&aliases);
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.defined(kind),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => {
                self.defined(ComponentExternalKind::Type);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } => {
                self.defined(ComponentExternalKind::Module);
            }
            ComponentAlias::CoreInstanceExport { .. }
            | ComponentAlias::Outer {
                kind: ComponentOuterAliasKind::Component | ComponentOuterAliasKind::CoreType,
                ..
            } => {}
        }
        Ok(())
    }

    fn alias_of_answered(
        &mut self,
        out: &mut Component,
        kind: ComponentExternalKind,
        interface: InterfaceId,
        name: &str,
    ) -> Rewritten<()> {
        match kind {
            ComponentExternalKind::Func => {
                let interface = self.wit.resolve.id_of(interface).unwrap_or_default();
                self.funcs.push(Func::Answered(answers::export(&interface, name)));
            }
            ComponentExternalKind::Type => {
                let resource = self.wit.is_resource(interface, name);
                let mut types = ComponentTypeSection::new();
                if resource {
                    types.resource(ValType::I32, None);
                } else {
                    types.defined_type().primitive(PrimitiveValType::Bool);
                }
                out.section(&types);
                self.types.push(resource);
            }
            ComponentExternalKind::Component
            | ComponentExternalKind::Instance
            | ComponentExternalKind::Module
            | ComponentExternalKind::Value => {
                return unusual(format!("{name} is neither a function nor a type"));
            }
        }
        Ok(())
    }

    fn canonical(&mut self, out: &mut Component, function: CanonicalFunction) -> Rewritten<()> {
        match &function {
            CanonicalFunction::Lower { func_index, options } => {
                if let Some(Func::Answered(name)) = index(&self.funcs, *func_index) {
                    let name = name.clone();
                    let instance = self.instance_of_answers(out, given(options)?)?;
                    alias_core_function(out, instance, &name);
                    return Ok(());
                }
            }
            CanonicalFunction::ResourceDrop { resource } if index(&self.types, *resource) == Some(&true) => {
                let instance = self.instance_of_answers(out, (None, None))?;
                alias_core_function(out, instance, answers::DROP);
                return Ok(());
            }
            CanonicalFunction::Lift { .. } => self.defined(ComponentExternalKind::Func),
            // All others define core functions, and name nothing that is answered.
            _ => {}
        }
        let mut functions = CanonicalFunctionSection::new();
        self.parse_component_canonical(&mut functions, function)?;
        out.section(&functions);
        Ok(())
    }

    /// The core instance whose functions answer with this memory and allocator; made when first needed.
    fn instance_of_answers(&mut self, out: &mut Component, given: Options) -> Rewritten<u32> {
        if let Some(made) = self.answers.get(&given) {
            return Ok(*made);
        }
        let (memory, allocator) = given;
        let access = match (memory, allocator) {
            (None, _) => Access::Nothing,
            (Some(_), None) => Access::Memory,
            (Some(_), Some(_)) => Access::Allocator,
        };
        let mut asked = Vec::new();
        for (interface, id) in self.wit.interfaces {
            let functions = self.wit.resolve.interfaces[*id].functions.values();
            asked.extend(functions.map(|function| Asked { interface, function }));
        }
        let module = answers::module(self.wit.resolve, self.wit.sizes, &asked, access).or_else(unusual)?;
        out.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: &module });
        let mut instances = InstanceSection::new();
        let memory = memory.map(|memory| (answers::MEMORY, ExportKind::Memory, memory));
        let allocator = allocator.map(|function| (answers::ALLOCATE, ExportKind::Func, function));
        instances.export_items(memory.into_iter().chain(allocator).collect::<Vec<_>>());
        instances.instantiate(
            self.module_count,
            [(answers::STRATEGY, ModuleArg::Instance(self.core_instance_count))],
        );
        out.section(&instances);
        self.module_count += 1;
        self.core_instance_count += 2;
        self.answers.insert(given, self.core_instance_count - 1);
        Ok(self.core_instance_count - 1)
    }
}

/// What a lowered function was given.
fn given(options: &[CanonicalOption]) -> Rewritten<Options> {
    let mut given = (None, None);
    for option in options {
        match option {
            CanonicalOption::Memory(memory) => given.0 = Some(*memory),
            CanonicalOption::Realloc(function) => given.1 = Some(*function),
            CanonicalOption::UTF8 => {}
            other => return unusual(format!("a function is lowered with the option {other:?}")),
        }
    }
    Ok(given)
}

fn alias_core_function(out: &mut Component, instance: u32, name: &str) {
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name });
    out.section(&aliases);
}

fn index<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

impl Reencode for Rewriter<'_> {
    type Error = Unusual;
}

impl ReencodeComponent for Rewriter<'_> {
    fn component_func_index(&mut self, func: u32) -> u32 {
        match index(&self.funcs, func) {
            Some(Func::Kept(kept)) => *kept,
            // Out of range, which the validation of what is written will refuse.
            Some(Func::Answered(_)) | None => u32::MAX,
        }
    }

    fn module_index(&mut self, module: u32) -> u32 {
        index(&self.modules, module).copied().unwrap_or(u32::MAX)
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        index(&self.core_instances, instance).copied().unwrap_or(u32::MAX)
    }

    fn parse_component_payload(
        &mut self,
        out: &mut Component,
        payload: Payload<'_>,
        whole: &[u8],
    ) -> Rewritten<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.import(out, import?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(out, alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(out, function?)?;
                }
            }
            // Names go by numbers that change.
            Payload::CustomSection(section) if section.name() == "component-name" => {}
            other => {
                self.count(&other)?;
                reencode::component_utils::parse_component_payload(self, out, other, whole)?;
            }
        }
        Ok(())
    }

    fn parse_component_submodule(&mut self, out: &mut Component, _: Parser, module: &[u8]) -> Rewritten<()> {
        out.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data: module });
        Ok(())
    }

    fn parse_component_subcomponent(
        &mut self,
        out: &mut Component,
        _: Parser,
        subcomponent: &[u8],
        _: &[u8],
    ) -> Rewritten<()> {
        for payload in Parser::new(0).parse_all(subcomponent) {
            let Payload::ComponentAliasSection(section) = payload? else { continue };
            for alias in section {
                if let ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } = alias? {
                    return unusual("a component inside it uses a core module from around it");
                }
            }
        }
        out.section(&RawSection { id: ComponentSectionId::Component.into(), data: subcomponent });
        Ok(())
    }
}

impl Rewriter<'_> {
    /// Counts what a section defines that is written as it is.
    fn count(&mut self, payload: &Payload<'_>) -> Rewritten<()> {
        match payload {
            Payload::ComponentTypeSection(section) => {
                for _ in 0..section.count() {
                    self.defined(ComponentExternalKind::Type);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for _ in 0..section.count() {
                    self.defined(ComponentExternalKind::Instance);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.defined(export?.kind);
                }
            }
            Payload::InstanceSection(section) => {
                for _ in 0..section.count() {
                    self.core_instances.push(self.core_instance_count);
                    self.core_instance_count += 1;
                }
            }
            Payload::ModuleSection { .. } => self.defined(ComponentExternalKind::Module),
            // Nothing else has numbers that are kept here.
            _ => {}
        }
        Ok(())
    }
}
