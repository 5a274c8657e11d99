//! burn's side: a backend whose operations go to a [`Runner`].

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use burn::tensor::backend::{DTypeUsage, DTypeUsageSet, Device as BurnDevice, DeviceId, DeviceOps, ExecutionError};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_ir::{OperationIr, TensorId, TensorIr};
use burn_router::{MultiBackendBridge, RouterTensor, RunnerChannel, RunnerClient, get_client};

use super::Traced;
use super::recall::{Key, Making};
use super::runner::Runner;
use super::step::Op;
use super::tensor::{data, kept_kind, words};
use crate::cuda::launch::Graphs;
use crate::error::{Error, Result};
use crate::nn::ops::{Computation, Fed, FedTensor, Precision};

/// A machine that networks run on.
pub trait Traceable: Graphs<Graph: Send + Sync, Memory: Send + Sync> + Send + Sync + 'static {
    /// The stream of this name, if the machine of its number was opened; of whichever precision.
    fn opened(device: TraceDevice) -> Option<Arc<Self>>;

    /// What one thread at a time holds while it uses the stream.
    fn turn(&self) -> &Mutex<()>;
}

/// Names a machine by its number, and a stream of it: what runs on others does not wait for its turn here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceDevice {
    /// As the kind of machine counts.
    pub number: usize,
    /// Of the machine's streams.
    pub stream: usize,
    /// Whether products are of reduced precision.
    pub reduced: bool,
}

impl TraceDevice {
    /// The first stream of a machine.
    #[must_use]
    pub fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    /// How products are to be made that a network wants `wanted`.
    pub(super) fn precision(self, wanted: Precision) -> Precision {
        if self.reduced { Precision::Reduced } else { wanted }
    }
}

impl fmt::Display for TraceDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// Numbers of machines, as burn's names of devices hold them.
const MOST_MACHINES: usize = 1 << 12;
/// What burn's names of devices whose products are reduced begin with.
const REDUCED: u16 = 1;

impl BurnDevice for TraceDevice {
    fn from_id(id: DeviceId) -> Self {
        let index = usize::from(id.index_id);
        Self { number: index % MOST_MACHINES, stream: index / MOST_MACHINES, reduced: id.type_id == REDUCED }
    }

    fn to_id(&self) -> DeviceId {
        let index = self.stream * MOST_MACHINES + self.number;
        DeviceId::new(if self.reduced { REDUCED } else { 0 }, index as u16)
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

impl<M: Traceable> Client<M> {
    /// What a computation makes of `values`: as it was before, if it is known, and as `forward` says if not.
    pub(super) fn compute<const D: usize>(
        computation: Computation,
        values: Vec<TensorData>,
        device: &TraceDevice,
        forward: impl FnOnce(Fed<Traced<M>>) -> Result<Tensor<Traced<M>, D>>,
    ) -> Result<Vec<f32>> {
        let client = get_client::<Channel<M>>(device);
        let key = Key::of(computation, &values);
        if let Some(recalled) = client.runner.recall(&key, &values) {
            return recalled.map(floats);
        }
        let fed: Vec<FedTensor<Traced<M>>> = values.into_iter().map(|data| FedTensor::of(data, device)).collect();
        let id = |tensor: &FedTensor<Traced<M>>| match tensor {
            FedTensor::Floats(tensor) => tensor.clone().into_ir().id,
            FedTensor::Rows(tensor) => tensor.clone().into_primitive().into_ir().id,
        };
        let making = Making { key, fed: fed.iter().map(id).collect() };
        let made = forward(fed.into_iter().collect())?.into_primitive().tensor().into_ir();
        Ok(floats(client.runner.read(&made, Some(making))?))
    }
}

fn floats(words: Vec<u32>) -> Vec<f32> {
    words.into_iter().map(f32::from_bits).collect()
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
        let words = self.runner.read(&tensor, None).map_err(|error| failed(&error));
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
        let machine = M::opened(*device).expect("a machine is opened before networks run on it");
        Client { runner: Arc::new(Runner::new(machine)), device: *device }
    }

    fn get_tensor_handle(tensor: &TensorIr, client: &Client<M>) -> TensorData {
        let words = client.runner.read(tensor, None).unwrap_or_else(|error| panic!("{error}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_what_burn_is_told_of_it() {
        for (number, stream, reduced) in [(0, 0, false), (3, 0, true), (0, 5, false), (7, 9, true)] {
            let device = TraceDevice { number, stream, reduced };
            assert_eq!(TraceDevice::from_id(device.to_id()), device);
        }
        assert_eq!(TraceDevice::new(2).to_id(), DeviceId::new(0, 2));
    }
}
