//! burn's side: a backend whose operations go to a [`Runner`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use burn::tensor::backend::{DTypeUsage, DTypeUsageSet, Device as BurnDevice, DeviceId, DeviceOps, ExecutionError};
use burn::tensor::{DType, Shape, TensorData};
use burn_ir::{OperationIr, TensorId, TensorIr};
use burn_router::{MultiBackendBridge, RouterTensor, RunnerChannel, RunnerClient};

use super::runner::Runner;
use super::step::Op;
use super::tensor::{data, kept_kind, words};
use crate::cuda::launch::Graphs;
use crate::error::Error;

/// A machine that networks run on.
pub trait Traceable: Graphs<Graph: Send + Sync, Memory: Send + Sync> + Send + Sync + 'static {
    /// The machine of this number, if it was opened.
    fn opened(number: usize) -> Option<Arc<Self>>;
}

/// Names a machine by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceDevice {
    /// As the kind of machine counts.
    pub number: usize,
}

impl fmt::Display for TraceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

impl BurnDevice for TraceDevice {
    fn from_id(id: DeviceId) -> Self {
        Self { number: id.index_id.into() }
    }

    fn to_id(&self) -> DeviceId {
        DeviceId::new(0, self.number as u16)
    }
}

impl DeviceOps for TraceDevice {}

/// Operations of one machine.
pub struct Client<M: Traceable> {
    runner: Arc<Runner<M>>,
    device: TraceDevice,
}

impl<M: Traceable> Clone for Client<M> {
    fn clone(&self) -> Self {
        Self { runner: Arc::clone(&self.runner), device: self.device }
    }
}

impl<M: Traceable> Client<M> {
    /// Takes in an operation of ours that makes a tensor of `shape`.
    pub(super) fn record(&self, op: Op, inputs: Vec<RouterTensor<Self>>, shape: &[usize]) -> RouterTensor<Self> {
        let inputs: Vec<TensorIr> = inputs.into_iter().map(RouterTensor::into_ir).collect();
        let shape = Shape::from(shape.to_vec());
        let out = TensorIr::uninit(self.runner.name(), shape.clone(), DType::F32);
        self.runner.record(op, &inputs, &out);
        RouterTensor::new(out.id, shape, DType::F32, self.clone())
    }
}

/// An error as burn has it.
fn failed(error: &Error) -> ExecutionError {
    ExecutionError::WithContext { reason: error.to_string() }
}

impl<M: Traceable> RunnerClient for Client<M> {
    type Device = TraceDevice;

    fn register_op(&self, operation: OperationIr) {
        self.runner.register(operation);
    }

    fn read_tensor_async(
        &self,
        tensor: TensorIr,
    ) -> Pin<Box<dyn Future<Output = Result<TensorData, ExecutionError>> + Send>> {
        let words = self.runner.read(&tensor).map_err(|error| failed(&error));
        let read = words.map(|words| data(words, tensor.shape.to_vec(), tensor.dtype));
        Box::pin(std::future::ready(read))
    }

    fn sync(&self) -> Result<(), ExecutionError> {
        self.runner.finish().map_err(|error| failed(&error))
    }

    fn create_empty_handle(&self) -> TensorId {
        self.runner.name()
    }

    fn register_tensor_data(&self, data: TensorData) -> RouterTensor<Self> {
        let (id, shape, kind) = (self.runner.name(), data.shape.clone(), kept_kind(&data));
        self.runner.insert(id, words(data));
        RouterTensor::new(id, shape, kind, self.clone())
    }

    fn device(&self) -> TraceDevice {
        self.device
    }

    /// Nothing here is random: noise is made by the caller.
    fn seed(&self, _seed: u64) {}

    fn dtype_usage(&self, dtype: DType) -> DTypeUsageSet {
        match dtype {
            DType::F32 | DType::I32 | DType::Bool(_) => DTypeUsage::general(),
            _ => DTypeUsageSet::empty(),
        }
    }
}

/// The way from burn's operations to the machines of one kind.
pub struct Channel<M> {
    machines: std::marker::PhantomData<fn() -> M>,
}

impl<M> Clone for Channel<M> {
    fn clone(&self) -> Self {
        Self { machines: std::marker::PhantomData }
    }
}

impl<M: Traceable> RunnerChannel for Channel<M> {
    type Device = TraceDevice;
    type Bridge = Bridge;
    type Client = Client<M>;
    type FloatElem = f32;
    type IntElem = i32;
    type BoolElem = u32;

    fn name(device: &TraceDevice) -> String {
        format!("trace {device}")
    }

    /// # Panics
    /// The machine was not opened: what gives its device out opens it.
    fn init_client(device: &TraceDevice) -> Client<M> {
        let machine = M::opened(device.number).expect("a machine is opened before networks run on it");
        Client { runner: Arc::new(Runner::new(machine)), device: *device }
    }

    fn get_tensor_handle(tensor: &TensorIr, client: &Client<M>) -> TensorData {
        let words = client.runner.read(tensor).unwrap_or_else(|error| panic!("{error}"));
        data(words, tensor.shape.to_vec(), tensor.dtype)
    }

    fn register_tensor(
        client: &Client<M>,
        handle: TensorData,
        _shape: Shape,
        _dtype: DType,
    ) -> RouterTensor<Client<M>> {
        client.register_tensor_data(handle)
    }
}

/// Carries tensors from one machine to another, as values.
pub struct Bridge;

impl MultiBackendBridge for Bridge {
    type TensorHandle = TensorData;
    type Device = TraceDevice;

    fn change_backend_float(tensor: TensorData, _shape: Shape, _to: &TraceDevice) -> TensorData {
        tensor
    }

    fn change_backend_int(tensor: TensorData, _shape: Shape, _to: &TraceDevice) -> TensorData {
        tensor
    }

    fn change_backend_bool(tensor: TensorData, _shape: Shape, _to: &TraceDevice) -> TensorData {
        tensor
    }
}
